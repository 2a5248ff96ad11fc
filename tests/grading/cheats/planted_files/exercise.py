"""The starter as it is; the tricks are in the files beside it, which nobody must load."""

class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
