"""Gateway Lab: read an API gateway, break one, write parts of one."""

__version__ = "0.1.0"
