"""Twice the limit, by asking at the end of one window and at the beginning of the next."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

LIMIT, WINDOW = 10, 2.4
BEFORE_END = 0.9
"""Seconds before the window's end at which the first burst comes; so late may a busy machine be with it."""

FIXED = "admitted around the boundary, fixed window"
SLIDING = "admitted around the boundary, sliding window"
BUCKET = "admitted around the boundary, token bucket"


def burst(use: str, figure: str) -> Callable[[Play], Coroutine[Any, Any, None]]:
    """The same requests under the algorithm `use`: one, then nine, the boundary, then ten."""

    async def do(play: Play) -> None:
        if "shop" not in play.backends:
            await play.backend("shop", Backend(), retries=0)
        await play.policy("rate_limit", use=use, options={"limit": LIMIT, "window": WINDOW, "routes": []})
        await play.get("/shop/", use)  # the window begins
        await play.pause(WINDOW - BEFORE_END)
        await play.burst(LIMIT - 1, "/shop/", use)
        await play.pause(BEFORE_END + 0.1)
        await play.burst(LIMIT, "/shop/", use)
        await play.measure(figure, lambda r: r.good(use) - 1)

    return do


def script(cured: bool) -> Sequence[Step]:
    story = (
        f"A first request begins the window of {WINDOW:g} s. {LIMIT - 1} more come shortly before it ends, "
        f"{LIMIT} shortly after."
    )
    if not cured:
        return [
            Step(
                f"Fixed window, {LIMIT} requests per window. {story}",
                burst("fixed_window", FIXED),
                [
                    Expect("nothing is refused", lambda r: r.count("fixed_window", 429) == 0),
                    Expect(
                        f"{2 * LIMIT - 1} requests pass in less time than the window is long",
                        lambda r: r.figures[FIXED] == 2 * LIMIT - 1,
                    ),
                ],
            )
        ]
    return [
        Step(
            f"Sliding window, the same limit. {story}",
            burst("sliding_window", SLIDING),
            [Expect(f"{LIMIT} pass: the limit, wherever one looks", lambda r: r.figures[SLIDING] == LIMIT)],
        ),
        Step(
            f"Token bucket of {LIMIT}, refilled at {LIMIT}/{WINDOW:g} s. {story}",
            burst("token_bucket", BUCKET),
            [
                Expect(
                    "more than the limit pass, as the bucket fills meanwhile, and less than twice",
                    lambda r: LIMIT < r.figures[BUCKET] < 2 * LIMIT - 1,
                ),
                Expect("the rest is refused", lambda r: r.count("token_bucket", 429) > 0),
            ],
        ),
    ]


SCENARIO = Scenario(
    name="boundary-burst",
    title="Burst at the window's boundary",
    story=(
        "A fixed window counts from its beginning. Whoever asks at its end and again at the beginning of "
        "the next gets twice the limit within a moment, and the service behind was sized for once."
    ),
    cure="sliding window, and token bucket beside it",
    source=(
        "J. Desgats, How we built rate limiting capable of scaling to millions of domains, Cloudflare blog, "
        "2017"
    ),
    look_at="Clients: admitted and limited of this client. Policies: which algorithm counts.",
    script=script,
    contrast=[
        Contrast("the sliding window keeps to its limit", lambda off, on: on[SLIDING] < off[FIXED]),
        Contrast("the token bucket lies between", lambda off, on: on[SLIDING] < on[BUCKET] < off[FIXED]),
    ],
    questions=[
        Question(
            f"A limit of {LIMIT} per window: how many requests can pass within a tenth of the window's time?",
            f"Fixed window: {2 * LIMIT}. Sliding window: {LIMIT}. Token bucket: {LIMIT} and what flows in.",
        ),
        Question(
            "Why does anybody use a fixed window then?",
            "Two numbers per client, however high the limit; a sliding window must remember each request.",
        ),
    ],
)
