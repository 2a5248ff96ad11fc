"""Answers with a list that contains itself, and then some."""


class FixedWindow:
    def __init__(self, limit, window):
        self.deep = []
        self.deep.append(self.deep)

    def take(self, key, now):
        return self.deep
