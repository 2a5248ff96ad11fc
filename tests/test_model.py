from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import NO_BODY, Body, BodyGone, BodyTooLarge, Exchange, Response, header, problem


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(body: Body) -> bytes:
    return b"".join([chunk async for chunk in body])


async def test_no_body_is_empty_however_often_it_is_read() -> None:
    assert NO_BODY.empty
    assert await read(NO_BODY) == b""
    assert await read(NO_BODY) == b""


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=9), max_size=9),
    keep=st.integers(0, 40),
    stop=st.integers(0, 9),
)
def test_a_short_body_can_be_read_again_and_a_long_one_cannot(
    chunks: list[bytes], keep: int, stop: int
) -> None:
    async def scenario() -> None:
        body = Body(pieces(*chunks), length=None, keep=keep)
        started = 0
        async for _ in body:  # an attempt that breaks off after `stop` pieces
            started += 1
            if started > stop:
                break
        if body.replayable:
            rest = await read(body)
            assert rest == b"".join(chunks)
            assert body.replayable == (sum(map(len, chunks)) <= keep)
        else:
            assert sum(map(len, chunks)) > keep
            with pytest.raises(BodyGone):
                await read(body)

    asyncio.run(scenario())


async def test_a_body_longer_than_the_limit_is_refused_at_the_byte_too_many() -> None:
    assert await read(Body(pieces(b"ab", b"c"), length=None, limit=3)) == b"abc"
    with pytest.raises(BodyTooLarge):
        await read(Body(pieces(b"ab", b"cd"), length=None, limit=3))


async def test_a_body_whose_reading_broke_off_inside_is_not_replayed_as_if_it_were_whole() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"half"
        await asyncio.Event().wait()
        yield b"rest"

    body = Body(source(), length=None)

    async def attempt() -> bytes:
        return await read(body)

    task = asyncio.ensure_future(attempt())
    while not body.seen:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not body.replayable
    with pytest.raises(BodyGone):
        await read(body)


def test_a_header_is_found_by_its_first_value() -> None:
    fields = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert header(fields, b"a") == b"1"
    assert header(fields, b"c") is None
    assert Exchange("GET", b"/", headers=fields).header(b"b") == b"2"
    assert Response(200, fields).header(b"c") is None


async def test_the_end_is_told_once_and_to_all_even_if_one_of_them_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[BaseException | None] = []
    response = Response(200)
    response.on_end(told.append)
    response.on_end(lambda error: 1 / 0)  # type: ignore[arg-type,return-value]
    response.on_end(told.append)
    gone = asyncio.CancelledError()
    await response.aclose(gone)
    response.end()
    assert told == [gone, gone]
    assert "ZeroDivisionError" in caplog.text


async def test_closing_a_response_closes_its_stream() -> None:
    closed: list[bool] = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            closed.append(True)

    source = stream()
    await anext(source)
    await Response(200, stream=source).aclose()
    assert closed == [True]


def test_a_problem_is_rfc_9457_with_the_seconds_rounded_up() -> None:
    answer = problem(
        503, "breaker-open", "wait", service="a", retry_after=0.2, failure="destination_unavailable"
    )
    document = json.loads(answer.content)
    assert document == {
        "type": "tag:gateway-lab,2026:breaker-open",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "wait",
        "service": "a",
        "retry_after": 1,
    }
    assert answer.header(b"retry-after") == b"1"
    assert answer.header(b"proxy-status") == b"gateway-lab; error=destination_unavailable"
    assert answer.header(b"content-length") == b"%d" % len(answer.content)
    assert answer.header(b"content-type") == b"application/problem+json"
