"""Takes over the framing at once: what it says about its own errors is no text, no number, no list, and no end."""

import json
import struct
import sys

SAID = [
    {"kind": 5, "mro": 7, "text": ["x"], "line": "abc", "source": {}, "function": None},
    {"kind": "K" * 3_000_000, "mro": ["M"] * 500_000, "text": "T" * 3_000_000, "line": 10**300, "source": "S" * 10**6},
    {},
]


def frame(message):
    if "answer" in message:
        message = {"answer": message["answer"], "message": {"raised": SAID[message["answer"] % len(SAID)]}}
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data


for module in list(sys.modules.values()):
    if hasattr(module, "frame") and hasattr(module, "Runtime"):
        module.frame = frame

class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
