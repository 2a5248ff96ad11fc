"""Answers with objects that say they are of another class, in every way that Python asks for it."""

from lab.policies.rate_limit.limiter import Verdict


class Liar:
    def __init__(self, true=True):
        object.__setattr__(self, "_true", true)

    __class__ = property(lambda self: bool)
    __bool__ = lambda self: True
    __int__ = __index__ = lambda self: 1
    __float__ = lambda self: 1.0
    __eq__ = __le__ = __ge__ = lambda self, other: True
    __hash__ = lambda self: 1
    __instancecheck__ = __subclasscheck__ = lambda self, other: True
    __getattr__ = lambda self, name: self
    __call__ = lambda self, *args, **kwargs: self
    __iter__ = lambda self: iter([("admitted", True), ("limit", 3), ("remaining", 2), ("reset", 10.0), ("retry_after", 0.0)])
    __len__ = lambda self: 5
    __getitem__ = lambda self, key: self
    __repr__ = __str__ = lambda self: "Verdict(admitted=True)"
    _fields = ("admitted", "limit", "remaining", "reset", "retry_after")
    __dataclass_fields__ = property(lambda self: {})


class FixedWindow:
    def __init__(self, limit, window):
        self.count = 0

    def take(self, key, now):
        self.count += 1
        return Liar() if self.count % 2 else Verdict(Liar(), Liar(), Liar(), Liar(), Liar())
