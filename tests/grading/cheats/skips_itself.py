"""Asks pytest to skip, to expect a failure, or to stop: skipped tests must not shrink the maximum."""

import unittest

import pytest

pytestmark = pytest.mark.skip


class FixedWindow:
    def __init__(self, limit, window):
        if limit % 2:
            raise unittest.SkipTest("not today")

    def take(self, key, now):
        pytest.skip("not today")
