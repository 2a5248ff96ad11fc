"""The starter, handed in with checks that are easier to pass, and a manifest that says so."""

class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
