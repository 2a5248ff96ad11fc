"""Lets signals rain, and has their numbers written into the channel where there is one to be found."""

import faulthandler
import signal
import socket

import os

for number in range(3, 256):
    try:
        os.set_blocking(number, False)
        signal.set_wakeup_fd(number)
        break
    except (OSError, ValueError):
        continue
for kind in (signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(kind, lambda *args: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)


class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
