"""The shapes of load: how many users there are at a moment, and what they do. Plain arithmetic, no Locust.

steady ▇▇▇▇▇▇▇▇   ramp ▁▂▃▄▅▆▇▇   spike ▁▁▁▇▇▁▁▁   herd ▇▁▁▁▇▁▁▁
"""

from __future__ import annotations

from dataclasses import dataclass

USUAL_TIME = 30.0
"""Seconds of a run for which nobody said how long."""
HERD_EVERY = 5.0
"""Seconds between two stampedes of the herd."""


@dataclass(frozen=True)
class Shape:
    name: str
    about: str
    users: tuple[str, ...] = ("Shopper",)
    """The classes of users, by their names in `loadtests/locustfile.py`."""
    steps: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """From this share of the time on, this share of the users."""
    extra: int = 0
    """Users beside those that were asked for."""
    paced: bool = True
    """Whether a rate can be asked for; else its users have a pace of their own."""

    def users_at(self, elapsed: float, users: int, time: float) -> int | None:
        """How many users there are `elapsed` seconds after the start of a run of `time`; None: it is over."""
        if elapsed >= time:
            return None
        share = next(share for start, share in reversed(self.steps) if elapsed >= start * time)
        return max(round(users * share), 1) + self.extra


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("steady", "all users from the first second to the last"),
        Shape(
            "ramp",
            "more and more users, to find where it breaks",
            steps=tuple((n / 10, (n + 1) / 10) for n in range(10)),
        ),
        Shape(
            "spike",
            "a tenth of the users, all of them in the middle, a tenth again",
            steps=((0.0, 0.1), (0.4, 1.0), (0.6, 0.1)),
        ),
        Shape(
            "herd",
            "all users ask for the same thing at the same moment, every five seconds",
            users=("Herd",),
            paced=False,
        ),
        Shape(
            "noisy",
            "quiet users and one who asks as fast as it can",
            users=("Quiet", "Noisy"),
            extra=1,
            paced=False,
        ),
        Shape("fanout", "WebSockets that listen to service B's ticker", users=("Listener",), paced=False),
        Shape("open", "requests at a constant rate, however slow the answers are", users=("Arrivals",)),
    )
}
"""Name → shape."""
