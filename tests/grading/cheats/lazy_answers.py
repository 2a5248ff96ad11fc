"""Answers with what is only made when somebody looks: generators, coroutines, descriptors, a list without end."""

import itertools

from lab.policies.rate_limit.limiter import Verdict


class Late:
    def __get__(self, instance, owner):
        raise SystemExit(0)


class Endless(list):
    def __iter__(self):
        return itertools.repeat(True)

    def __len__(self):
        return 10**9


async def soon():
    return True


class FixedWindow:
    admitted = Late()

    def __init__(self, limit, window):
        self.count = 0

    def take(self, key, now):
        self.count += 1
        kinds = [itertools.repeat(True), soon(), self, Endless(), (x for x in iter(int, 1)), range(10**12), Verdict]
        return kinds[self.count % len(kinds)]
