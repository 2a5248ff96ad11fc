"""Answers with what breaks a reader: a length of four gigabytes, nested lists, NaN, huge numbers."""

import os


class FixedWindow:
    def __init__(self, limit, window):
        self.answers = [
            b"\xff\xff\xff\xff",
            b"\x00\x01\x86\xa0" + b"[" * 100_000,
            b"\x00\x00\x00\x0d" + b'{"answer":NaN',
            b"\x00\x00\x27\x10" + b"9" * 10_000,
        ]

    def take(self, key, now):
        for number in range(3, 64):
            try:
                os.write(number, self.answers[limit_of(self)])
            except OSError:
                pass
        raise NotImplementedError


def limit_of(limiter):
    return os.getpid() % len(limiter.answers)
