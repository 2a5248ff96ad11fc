"""Leaves processes that have ended and that nobody waits for, and orphans that end a little later."""

import os
import time

for number in range(60):
    try:
        if os.fork() == 0:
            if number % 2:
                os.fork()
                time.sleep(0.01 * number)
            os._exit(0)
    except OSError:
        break


class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
