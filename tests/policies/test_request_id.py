from __future__ import annotations

import pytest

from lab.model import Exchange, Response
from lab.policies.request_id import RequestId


async def answer(exchange: Exchange) -> Response:
    return Response(200)


async def run(*values: bytes) -> tuple[str, bytes | None]:
    exchange = Exchange("GET", b"/a", headers=[(b"x-request-id", value) for value in values])
    response = await RequestId()(exchange, answer)
    return exchange.request_id, response.header(b"x-request-id")


@pytest.mark.parametrize("value", [b"a", b"!~{}", b"x" * 128])
async def test_a_sane_id_is_kept(value: bytes) -> None:
    assert await run(value) == (value.decode(), value)


@pytest.mark.parametrize(
    "values", [(), (b"",), (b"a b",), (b"x" * 129,), (b"a\x7f",), (b"\xe9",), (b"a", b"a")]
)
async def test_anything_else_is_replaced(values: tuple[bytes, ...]) -> None:
    made, sent = await run(*values)
    assert len(made) == 32
    assert int(made, 16) > 0
    assert sent == made.encode()


async def test_no_two_are_alike() -> None:
    stage = RequestId()
    made = set()
    for _ in range(1000):
        exchange = Exchange("GET", b"/a")
        await stage(exchange, answer)
        made.add(exchange.request_id)
    assert len(made) == 1000


async def test_it_has_nothing_to_tell_and_nothing_to_take_over() -> None:
    stage = RequestId()
    stage.adopt(RequestId())
    assert stage.snapshot() == {}
