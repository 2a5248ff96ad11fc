from __future__ import annotations

from typing import Any, ClassVar, Self

from lab.model import Exchange, Handler, Response
from lab.policies import Context
from lab.policies.pipeline import compose


class Mark:
    section: ClassVar[str] = "mark"

    def __init__(self, options: Any, context: Context | None = None, *, core: Any = None) -> None:
        self.name = options

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        exchange.headers.append((b"in", self.name))
        response = await call_next(exchange)
        response.headers.append((b"out", self.name))
        return response

    def snapshot(self) -> dict[str, Any]:
        return {}

    def adopt(self, old: Self) -> None:
        pass


async def last(exchange: Exchange) -> Response:
    return Response(200, [(b"saw", name) for _, name in exchange.headers])


async def order(handler: Handler) -> list[bytes]:
    response = await handler(Exchange("GET", b"/"))
    return [value for _, value in response.headers]


async def test_in_from_top_to_bottom_and_out_the_same_way_back() -> None:
    handler, _ = compose([Mark(b"1"), Mark(b"2")], last)
    assert await order(handler) == [b"1", b"2", b"2", b"1"]


async def test_a_slot_can_be_switched_off_and_filled_anew() -> None:
    handler, slots = compose([Mark(b"1"), Mark(b"2")], last)
    slots[0].enabled = False
    assert await order(handler) == [b"2", b"2"]
    slots[0].enabled = True
    slots[0].stage = Mark(b"3")
    assert await order(handler) == [b"3", b"2", b"2", b"3"]


async def test_an_empty_pipeline_is_its_last_step() -> None:
    handler, slots = compose([], last)
    assert slots == []
    assert (await handler(Exchange("GET", b"/"))).status == 200
