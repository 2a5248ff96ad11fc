"""Raises what takes for ever to be told: an error whose text hangs, is a gigabyte long, or raises again."""

import time


class Slow(Exception):
    def __str__(self):
        time.sleep(3600)


class Long(Exception):
    def __str__(self):
        return "20 of 20 points\n" * 10_000_000


class Again(Exception):
    def __str__(self):
        raise Again

    __repr__ = __str__


class Circle(Exception):
    @property
    def __traceback__(self):
        while True:
            pass


class FixedWindow:
    def __init__(self, limit, window):
        raise [Slow, Long, Again, Circle][int(limit) % 4]()
