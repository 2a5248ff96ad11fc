"""The stage: bodies that stream, one call for many requests, refreshing in the background, control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from lab.model import Exchange, Response
from lab.policies.cache import Cache, HttpCache, TtlCache, Verdict
from lab.policies.cache import body as shared_body
from lab.settings import ServiceSettings
from tests.fakes import eventually
from tests.policies.cache_world import World, drain, fields, said

FRESH = "200\nCache-Control: max-age=100"


class Tap:
    """A body whose pieces come when the test says so."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self.read = 0
        self.closed = False

    def give(self, *pieces: bytes | BaseException | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.read += 1
                piece = await self.pieces.get()
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self.closed = True


class Door:
    """A service that answers each call when the test lets it."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Response]] = []
        self.left = 0

    async def __call__(self, exchange: Exchange) -> Response:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self.left += 1
            raise

    def answer(self, number: int, response: Response) -> None:
        self.waiting[number].set_result(response)


def streamed(tap: Tap, head: str = "Cache-Control: max-age=100", status: int = 200) -> Response:
    return Response(status, fields(head), stream=tap.__aiter__())


def answering(*responses: Response) -> Callable[[Exchange], Awaitable[Response]]:
    left = list(responses)

    async def service(exchange: Exchange) -> Response:
        return left.pop(0)

    return service


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


# -- what every response says --------------------------------------------------------------------------------


async def test_headers_and_fields_of_hit_and_miss() -> None:
    world = World(FRESH + "\nX-Cache: HIT elsewhere\nCache-Status: far; hit")
    miss = await world.get()
    assert world.exchange is not None
    assert (world.exchange.cache, world.exchange.cache_status) == (
        "MISS",
        b"gateway-lab; fwd=uri-miss; fwd-status=200; stored; ttl=100",
    )
    assert said(miss, "x-cache") == "MISS"
    assert (
        said(miss, "cache-status") == "far; hit, gateway-lab; fwd=uri-miss; fwd-status=200; stored; ttl=100"
    )
    hit = await world.get()
    assert (world.exchange.cache, world.exchange.cache_status) == ("HIT", b"gateway-lab; hit; ttl=100")
    assert said(hit, "x-cache") == "HIT"
    assert said(hit, "cache-status") == "far; hit, gateway-lab; hit; ttl=100"
    hit.headers.append((b"x-request-id", b"1"))  # as the outer stages do
    assert said(await world.get(), "x-request-id") is None


async def test_bypass_is_said() -> None:
    world = World(FRESH)
    response = await world.get(head="Cache-Control: no-store")
    assert world.exchange is not None
    assert world.exchange.cache == "BYPASS"
    assert said(response, "x-cache") == "BYPASS"
    assert said(response, "cache-status") == "gateway-lab; fwd=request; fwd-status=200"


async def test_other_methods_and_websockets_pass_without_a_word() -> None:
    world = World(FRESH)
    for options in ({"method": "POST"}, {"kind": "websocket"}):
        response = await world.get(**options)  # type: ignore[arg-type]
        assert said(response, "x-cache") is None
        assert world.exchange is not None
        assert world.exchange.cache is None


# -- bodies --------------------------------------------------------------------------------------------------


async def test_body_is_passed_on_piece_by_piece_and_stored_when_complete() -> None:
    tap = Tap()
    world = World(answering(streamed(tap)))
    response = await world.get()
    assert response.stream is not None
    pieces = aiter(response.stream)
    tap.give(b"one ")
    assert await anext(pieces) == b"one "
    assert world.cache.snapshot()["entries"] == 0
    tap.give(b"two", None)
    assert await anext(pieces) == b"two"
    assert await anext(pieces, None) is None
    hit = await world.get()
    assert (hit.content, said(hit, "content-length"), said(hit, "x-cache")) == (b"one two", "7", "HIT")


async def test_nothing_is_read_ahead_of_the_client() -> None:
    tap = Tap()
    tap.give(b"1", b"2", b"3", None)
    world = World(answering(streamed(tap)))
    response = await world.get()
    assert response.stream is not None
    assert await anext(aiter(response.stream)) == b"1"
    await settle()
    assert tap.read == 1
    await response.aclose()


@pytest.mark.parametrize("pieces", [(b"12345678901",), (b"123456", b"78901", b"2")])
async def test_longer_body_streams_through(pieces: tuple[bytes, ...]) -> None:
    tap = Tap()
    tap.give(*pieces, None)
    world = World(answering(streamed(tap)), FRESH, max_body=10)
    assert await drain(await world.get()) == b"".join(pieces)
    assert world.cache.snapshot()["entries"] == 0


async def test_body_known_to_be_longer_is_not_collected() -> None:
    tap = Tap()
    response = streamed(tap, "Cache-Control: max-age=9\nContent-Length: 11")
    stream = response.stream
    world = World(answering(response), max_body=10)
    passed = await world.get()
    assert passed.stream is stream
    assert said(passed, "cache-status") == "gateway-lab; fwd=uri-miss; fwd-status=200"


@pytest.mark.parametrize(("size", "stored"), [(10, 1), (11, 0)])
async def test_limit_of_a_whole_body(size: int, stored: int) -> None:
    world = World(answering(Response(200, fields("Cache-Control: max-age=9"), b"x" * size)), max_body=10)
    await world.get()
    assert world.cache.snapshot()["entries"] == stored


async def test_body_that_breaks_off_is_not_stored() -> None:
    tap = Tap()
    tap.give(b"one", ConnectionError("reset"))
    world = World(answering(streamed(tap)))
    response = await world.get()
    with pytest.raises(ConnectionError):
        await drain(response)
    assert world.cache.snapshot()["entries"] == 0


@pytest.mark.parametrize("whole", [True, False])
async def test_body_shorter_than_its_length_is_not_stored(whole: bool) -> None:
    head = "Cache-Control: max-age=9\nContent-Length: 9"
    tap = Tap()
    tap.give(b"one", None)
    world = World(answering(Response(200, fields(head), b"one") if whole else streamed(tap, head)))
    assert await drain(await world.get()) == b"one"
    assert world.cache.snapshot()["entries"] == 0


async def test_client_that_goes_away_closes_the_services_body() -> None:
    tap = Tap()
    world = World(answering(streamed(tap)))
    response = await world.get()
    assert response.stream is not None
    reading = asyncio.ensure_future(anext(aiter(response.stream)))
    await eventually(lambda: tap.read == 1)
    reading.cancel()
    await asyncio.wait((reading,))
    assert not tap.closed
    ended: list[BaseException | None] = []
    response.on_end(ended.append)
    await response.aclose(asyncio.CancelledError())
    assert tap.closed
    assert len(ended) == 1
    assert world.cache.snapshot()["entries"] == 0


async def test_body_without_aclose_can_be_left() -> None:
    class Plain:
        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> bytes:
            return b"x"

    world = World(answering(Response(200, fields("Cache-Control: max-age=9"), stream=Plain())))
    response = await world.get()
    await response.aclose()


# -- one call for many ---------------------------------------------------------------------------------------


async def test_many_equal_misses_make_one_call() -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(100)]
    await settle()
    assert len(door.waiting) == 1
    door.answer(0, world.response(FRESH, b"body"))
    responses = await asyncio.gather(*tasks)
    assert [r.content for r in responses] == [b"body"] * 100
    assert [said(r, "x-cache") for r in responses] == ["MISS"] + ["HIT"] * 99
    assert (
        said(responses[1], "cache-status") == "gateway-lab; fwd=uri-miss; fwd-status=200; collapsed; ttl=100"
    )
    assert world.calls == 1


async def test_without_coalescing_each_miss_asks_for_itself() -> None:
    door = Door()
    world = World(door, coalesce=False)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    for n in range(3):
        door.answer(n, world.response(FRESH, b"%d" % n))
    assert [r.content for r in await asyncio.gather(*tasks)] == [b"0", b"1", b"2"]


async def test_followers_read_the_growing_body() -> None:
    door, tap = Door(), Tap()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    door.answer(0, streamed(tap))
    first, second, third = await asyncio.gather(*tasks)
    late_task = asyncio.ensure_future(world.get())
    assert second.stream is not None
    assert said(second, "content-length") is None
    tap.give(b"one ")
    assert (
        await anext(aiter(second.stream)) == b"one "
    )  # before it is complete, and before the first client reads
    await third.aclose()
    tap.give(b"two", None)
    late = await late_task
    assert await drain(second) == b"two"
    assert await drain(late) == b"one two"
    assert await drain(first) == b"one two"
    assert (await world.get()).content == b"one two"
    assert world.calls == 1


async def test_followers_get_the_length_that_the_service_named() -> None:
    door, tap = Door(), Tap()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    door.answer(0, streamed(tap, "Cache-Control: max-age=9\nContent-Length: 3"))
    tap.give(b"one", None)
    first, second = await asyncio.gather(*tasks)
    assert [said(r, "content-length") for r in (first, second)] == ["3", "3"]
    assert [await drain(r) for r in (second, first)] == [b"one", b"one"]


async def test_first_client_that_leaves_amid_the_body_does_not_fail_the_others() -> None:
    door, tap = Door(), Tap()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    door.answer(0, streamed(tap))
    first, second = await asyncio.gather(*tasks)
    assert first.stream is not None
    reading = asyncio.ensure_future(anext(aiter(first.stream)))
    await eventually(lambda: tap.read == 1)
    reading.cancel()
    await asyncio.wait((reading,))
    await first.aclose()
    tap.give(b"all of it", None)
    assert await drain(second) == b"all of it"
    assert (await world.get()).content == b"all of it"
    assert world.calls == 1


async def test_first_client_that_leaves_before_the_head_is_replaced() -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    tasks[0].cancel()
    await eventually(lambda: len(door.waiting) == 2)
    assert door.left == 1
    door.answer(1, world.response(FRESH, b"body"))
    assert [(await task).content for task in tasks[1:]] == [b"body"] * 2
    assert world.calls == 2


async def test_first_client_that_leaves_between_head_and_followers_is_replaced() -> None:
    door, tap = Door(), Tap()
    world = World(door)

    async def impatient() -> None:
        await (await world.get()).aclose()

    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(impatient())]
    await settle()
    tasks.append(asyncio.ensure_future(world.get()))
    await settle()
    door.answer(0, streamed(tap))
    await eventually(lambda: len(door.waiting) == 2)
    door.answer(1, world.response(FRESH, b"body"))
    assert (await tasks[1]).content == b"body"
    await tasks[0]


async def test_follower_that_leaves_takes_nothing_with_it() -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    tasks[1].cancel()
    await asyncio.wait((tasks[1],))
    door.answer(0, world.response(FRESH, b"body"))
    assert (await tasks[0]).content == b"body"


@pytest.mark.parametrize(
    "answer",
    ["200\nCache-Control: private", "200\nCache-Control: no-store", "200\nVary: *", "404", "502",
     "200\nSet-Cookie: a=b",
     '200\nCache-Control: no-cache\nETag: "x"', '200\nCache-Control: max-age=0\nETag: "x"'],
)  # fmt: skip
async def test_what_cannot_be_shared_is_asked_for_by_each_and_at_once(answer: str) -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(5)]
    await settle()
    assert len(door.waiting) == 1
    door.answer(0, world.response(answer, b"for the first"))
    await eventually(lambda: len(door.waiting) == 5)  # all of them, none waits for another
    for number in range(1, 5):
        door.answer(number, world.response(answer, b"%d" % number))
    contents = [(await task).content for task in tasks]
    assert contents == [b"for the first", b"1", b"2", b"3", b"4"]


async def test_after_an_answer_that_cannot_be_shared_nobody_waits_for_a_while() -> None:
    door = Door()
    world = World(door)
    first = asyncio.ensure_future(world.get())
    await settle()
    door.answer(0, world.response("200\nCache-Control: private"))
    await first
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    assert len(door.waiting) == 4
    world.now += 31
    tasks += [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    assert len(door.waiting) == 5
    for number in range(1, 5):
        door.answer(number, world.response(FRESH))
    await asyncio.gather(*tasks)


async def test_service_that_fails_the_first_does_not_fail_the_others() -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    failed = world.response("504")
    failed.failure = "http_response_timeout"
    door.answer(0, failed)
    await eventually(lambda: len(door.waiting) == 3)
    for number in (1, 2):
        door.answer(number, world.response(FRESH, b"body"))
    assert [(await task).status for task in tasks] == [504, 200, 200]


async def test_stage_below_that_raises_fails_only_the_first() -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    door.waiting[0].set_exception(RuntimeError("a bug"))
    await eventually(lambda: len(door.waiting) == 2)
    door.answer(1, world.response(FRESH, b"body"))
    with pytest.raises(RuntimeError):
        await tasks[0]
    assert (await tasks[1]).content == b"body"


async def test_variants_are_not_shared() -> None:
    door = Door()
    world = World(door)
    heads = ["Foo: 1", "Foo: 2", "Foo: 1"]
    tasks = [asyncio.ensure_future(world.get(head=head)) for head in heads]
    await settle()
    assert len(door.waiting) == 1
    answer = FRESH + "\nVary: Foo"
    door.answer(0, world.response(answer, b"1"))
    await eventually(lambda: len(door.waiting) == 2)
    door.answer(1, world.response(answer, b"2"))
    assert [(await task).content for task in tasks] == [b"1", b"2", b"1"]
    world.now += 200
    tasks = [asyncio.ensure_future(world.get(head=head)) for head in heads]
    await settle()
    assert len(door.waiting) == 4  # now that Vary is known, they do not wait for each other
    door.answer(2, world.response(answer, b"1"))
    door.answer(3, world.response(answer, b"2"))
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("one", "two"),
    [({"identity": "alice"}, {"identity": "bob"}),
     ({"head": "Authorization: x"}, {"head": "Authorization: y"}),
     ({}, {"head": "Authorization: x"}), ({"head": "X-API-Key: k"}, {"head": "X-API-Key: l"})],
)  # fmt: skip
async def test_clients_with_different_credentials_do_not_wait_for_each_other(one: Any, two: Any) -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get(**who)) for who in (one, two)]
    await settle()
    assert len(door.waiting) == 2
    for number in (0, 1):
        door.answer(number, world.response("200\nCache-Control: private", b"%d" % number))
    assert [(await task).content for task in tasks] == [b"0", b"1"]


@pytest.mark.parametrize("head", ["Range: bytes=0-1", 'If-None-Match: "x"'])
async def test_only_plain_gets_are_collapsed(head: str) -> None:
    door = Door()
    world = World(door)
    tasks = [asyncio.ensure_future(world.get(head=head)) for _ in range(2)]
    await settle()
    assert len(door.waiting) == 2
    for number in (0, 1):
        door.answer(number, world.response(FRESH))
    await asyncio.gather(*tasks)


async def test_many_validations_make_one_call() -> None:
    door = Door()
    world = World('200\nCache-Control: max-age=10\nETag: "x"', door)
    await world.get()
    world.now += 20
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    assert len(door.waiting) == 1
    door.answer(0, Response(304, fields("Cache-Control: max-age=10")))
    responses = await asyncio.gather(*tasks)
    assert [r.content for r in responses] == [b"1"] * 3
    assert [said(r, "cache-status") for r in responses] == [
        "gateway-lab; fwd=stale; fwd-status=304; ttl=10",
        *["gateway-lab; fwd=stale; fwd-status=200; collapsed; ttl=10"] * 2,
    ]


async def test_many_errors_make_one_call_where_stale_may_stand_in() -> None:
    door = Door()
    world = World("200\nCache-Control: max-age=10, stale-if-error=60", door)
    await world.get()
    world.now += 20
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    door.answer(0, world.response("503"))
    assert [(await task).content for task in tasks] == [b"1"] * 3
    assert len(door.waiting) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_wait_for_another_ends_with_the_exchanges_own_time(known: bool) -> None:
    door = Door()
    services = {"a": ServiceSettings(url="http://127.0.0.1:1", timeout=0.01)} if known else {}
    world = World(door, services=services)
    first = asyncio.ensure_future(world.get())
    await settle()
    late = world.make()
    if not known:
        late.deadline = world.now - 1
    second = asyncio.ensure_future(world.cache(late, world.service))
    await eventually(lambda: len(door.waiting) == 2)
    assert late.deadline == pytest.approx(world.now + 0.01 if known else world.now - 1)
    door.answer(1, world.response(FRESH, b"second"))
    assert (await second).content == b"second"
    door.answer(0, world.response(FRESH, b"first"))
    assert (await first).content == b"first"


async def test_wait_is_bounded_for_a_service_that_is_gone() -> None:
    door = Door()
    world = World(door, services={})
    tasks = [asyncio.ensure_future(world.cache(world.make(), world.service)) for _ in range(2)]
    await settle()
    door.answer(0, world.response(FRESH))
    await asyncio.gather(*tasks)
    assert world.calls == 1


async def test_slow_reader_holds_back_the_others_only_past_the_limit() -> None:
    door, tap = Door(), Tap()
    world = World(door, max_body=10)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    door.answer(0, streamed(tap))
    slow, fast = await asyncio.gather(*tasks)
    assert fast.stream is not None
    assert slow.stream is not None
    tap.give(*[b"123456"] * 4, None)
    pieces = aiter(fast.stream)
    assert [await anext(pieces), await anext(pieces)] == [
        b"123456"
    ] * 2  # 12 bytes that the other has not had
    waiting = asyncio.ensure_future(anext(pieces))
    await settle()
    assert not waiting.done()
    assert tap.read == 2
    assert await anext(aiter(slow.stream)) == b"123456"
    assert await waiting == b"123456"
    waiting = asyncio.ensure_future(anext(pieces))
    await settle()
    assert not waiting.done()
    await slow.aclose()
    assert await waiting == b"123456"
    assert await drain(fast) == b""
    assert world.cache.snapshot()["entries"] == 0


async def test_reader_that_stops_is_let_go_when_the_patience_of_the_others_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_body, "PATIENCE", 0.0)
    door, tap = Door(), Tap()
    world = World(door, max_body=10)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(3)]
    await settle()
    door.answer(0, streamed(tap))
    slow, *fast = await asyncio.gather(*tasks)
    assert slow.stream is not None
    ends: list[BaseException | None] = []
    slow.on_end(ends.append)
    tap.give(*[b"123456"] * 4, None)
    assert await anext(aiter(slow.stream)) == b"123456"
    assert await asyncio.gather(*map(drain, fast)) == [b"123456" * 4] * 2
    # Neither the service nor a stage is to blame: it ends like a client that went away.
    with pytest.raises(asyncio.CancelledError) as error:
        await anext(aiter(slow.stream))
    await slow.aclose(error.value)
    assert ends == [error.value]
    assert tap.closed


async def test_after_a_body_that_outgrew_the_limit_nobody_shares_one_for_a_while() -> None:
    door, tap = Door(), Tap()
    world = World(door, max_body=10)
    first = asyncio.ensure_future(world.get())
    await settle()
    door.answer(0, streamed(tap))
    tap.give(b"123456", b"123456", None)
    assert await drain(await first) == b"123456" * 2
    tasks = [asyncio.ensure_future(world.get()) for _ in range(2)]
    await settle()
    assert len(door.waiting) == 3
    door.answer(1, world.response(FRESH, b"1"))
    door.answer(2, world.response(FRESH, b"2"))
    assert [(await task).content for task in tasks] == [b"1", b"2"]


async def test_nobody_joins_a_body_that_began_longer_ago_than_it_is_fresh() -> None:
    door, tap = Door(), Tap()
    world = World(door)
    first = asyncio.ensure_future(world.get())
    await settle()
    door.answer(0, streamed(tap))
    response = await first
    world.now += 100
    second = asyncio.ensure_future(world.get())
    await eventually(lambda: len(door.waiting) == 2)
    door.answer(1, world.response(FRESH, b"1"))
    assert (await second).content == b"1"
    await response.aclose()


async def test_nobody_joins_a_body_that_outgrew_the_limit() -> None:
    door, tap = Door(), Tap()
    world = World(door, max_body=4)
    first = asyncio.ensure_future(world.get())
    await settle()
    door.answer(0, streamed(tap))
    response = await first
    assert response.stream is not None
    tap.give(b"12345")
    assert await anext(aiter(response.stream)) == b"12345"
    second = asyncio.ensure_future(world.get())
    await eventually(lambda: len(door.waiting) == 2)
    door.answer(1, world.response(FRESH, b"1"))
    assert (await second).content == b"1"
    await response.aclose()
    assert tap.closed


# -- stale while revalidate ----------------------------------------------------------------------------------

SWR = '200\nCache-Control: max-age=10, stale-while-revalidate=20\nETag: "x"'


async def test_stale_while_revalidate_answers_at_once_and_refreshes_once() -> None:
    door = Door()
    world = World(SWR, door)
    await world.get()
    world.now += 29
    for head in ("Foo: 1", 'If-None-Match: "x"', "Range: bytes=0-0"):
        response = await world.get(head=head)
        assert said(response, "cache-status") == "gateway-lab; hit; detail=stale-while-revalidate; ttl=-19"
        assert said(response, "age") == "29"
    await eventually(lambda: len(door.waiting) == 1)
    assert world.seen[1] == [(b"foo", b"1"), (b"if-none-match", b'"x"')]
    door.answer(0, world.response(SWR, b"new"))
    await eventually(lambda: not world.cache._refreshes)
    response = await world.get()
    assert (response.content, said(response, "cache-status")) == (b"new", "gateway-lab; hit; ttl=10")
    assert (
        len(world.dropped) == 2 - 1
    )  # the refresh was read and let go; the first client's answer is the client's
    assert world.calls == 2


async def test_refresh_by_304_and_by_a_stream() -> None:
    tap = Tap()
    tap.give(b"new", None)
    world = World(SWR, "304", answering(streamed(tap, "Cache-Control: max-age=10")))
    await world.get()
    for content in (b"1", b"new"):
        world.now += 20
        assert (await world.get(head="Range: bytes=5-")).status == 416  # a part of what is stored
        await eventually(lambda: not world.cache._refreshes)
        assert (await world.get()).content == content


async def test_after_the_window_the_service_is_waited_for() -> None:
    world = World(SWR, SWR)
    await world.get()
    world.now += 30
    assert (await world.get()).content == b"2"


async def test_refresh_that_fails_leaves_what_is_stored() -> None:
    async def broken(exchange: Exchange) -> Response:
        raise RuntimeError("a bug")

    world = World(SWR, broken)
    await world.get()
    world.now += 15
    for _ in range(2):
        assert (await world.get()).content == b"1"
        await eventually(lambda: not world.cache._refreshes)
    assert world.calls == 3


@pytest.mark.parametrize("head", ["Cache-Control: no-store", "Cache-Control: max-age=9"])
async def test_refresh_that_is_not_going_to_be_stored_is_not_read_to_its_end(head: str) -> None:
    tap = Tap()
    tap.give(b"12345", b"6", b"7")
    world = World(SWR, answering(streamed(tap, head)), max_body=4)
    await world.get()
    world.now += 15
    await world.get()
    await eventually(lambda: tap.closed)
    await eventually(lambda: not world.cache._refreshes)
    assert tap.read == 1


async def test_closing_stops_what_runs_in_the_background() -> None:
    door = Door()
    world = World(SWR, door)
    await world.get()
    world.now += 15
    await world.get()
    await eventually(lambda: len(door.waiting) == 1)
    await world.cache.aclose()
    assert door.left == 1
    await world.cache.aclose()


# -- invalidation against answers on their way ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["put", "purge", "clear"])
@pytest.mark.parametrize("when", ["head", "body"])
async def test_answer_asked_for_before_an_invalidation_is_not_stored_after_it(how: str, when: str) -> None:
    door, tap = Door(), Tap()
    world = World(door)
    reading = asyncio.ensure_future(world.get())
    await settle()
    if when == "body":
        door.answer(0, streamed(tap))
        response = await reading
    if how == "put":
        writing = asyncio.ensure_future(world.get(method="PUT"))
        await settle()
        door.answer(1, world.response("200"))
        await writing
    elif how == "purge":
        world.cache.purge("/a/items/1")
    else:
        world.cache.clear()
    if when == "head":
        door.answer(0, streamed(tap))
        response = await reading
    tap.give(b"old", None)
    assert await drain(response) == b"old"
    assert world.cache.snapshot()["entries"] == 0


async def test_whole_answer_asked_for_before_an_invalidation_is_not_stored_after_it() -> None:
    door = Door()
    world = World(door)
    reading = asyncio.ensure_future(world.get())
    await settle()
    world.cache.clear()
    door.answer(0, world.response(FRESH, b"old"))
    assert (await reading).content == b"old"
    assert world.cache.snapshot()["entries"] == 0


async def test_validation_under_way_at_an_invalidation_stores_nothing() -> None:
    door = Door()
    world = World('200\nCache-Control: max-age=10\nETag: "x"', door)
    await world.get()
    world.now += 20
    reading = asyncio.ensure_future(world.get())
    await settle()
    world.cache.clear()
    door.answer(0, Response(304, fields("Cache-Control: max-age=10")))
    assert (await reading).content == b"1"
    assert world.cache.snapshot()["entries"] == 0


async def test_requests_after_an_invalidation_do_not_join_an_older_one() -> None:
    door = Door()
    world = World(door)
    old = asyncio.ensure_future(world.get())
    other = asyncio.ensure_future(world.get("/other"))
    await settle()
    world.cache.purge("/a/items/1")
    new = asyncio.ensure_future(world.get())
    other_too = asyncio.ensure_future(world.get("/other"))
    await settle()
    assert len(door.waiting) == 3
    for number, body in enumerate((b"old", b"other", b"new")):
        door.answer(number, world.response(FRESH, body))
    assert [(await t).content for t in (old, other, new, other_too)] == [b"old", b"other", b"new", b"other"]
    assert (await world.get()).content == b"new"


# -- control -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["http", "ttl"])
async def test_purge_takes_one_path_with_its_query(use: str) -> None:
    world = World(FRESH, use=use, ttl=30)
    for target in ("/items/1", "/items/1?x=%31", "/"):
        await world.get(target)
    assert world.cache.snapshot()["entries"] == 3
    assert world.cache.purge("/a/items/1?x=1") == 0
    assert world.cache.purge("/a/items/1?x=%31") == 1
    assert world.cache.purge(b"/a") == 1
    assert world.cache.snapshot()["entries"] == 1
    assert (await world.get()).content == b"1"
    assert world.cache.clear() == 1
    assert (await world.get()).content == b"4"
    assert world.events == [
        ("cache", {"action": "purged", "path": "/a/items/1?x=1", "entries": 0}),
        ("cache", {"action": "purged", "path": "/a/items/1?x=%31", "entries": 1}),
        ("cache", {"action": "purged", "path": "/a", "entries": 1}),
        ("cache", {"action": "purged", "path": None, "entries": 1}),
    ]


async def test_snapshot_shows_the_most_used_entries() -> None:
    world = World(FRESH)
    for number in range(60):
        await world.get(f"/{number}")
    for _ in range(3):
        await world.get("/59?")
    world.now += 5
    snapshot = world.cache.snapshot()
    assert (snapshot["entries"], snapshot["max_entries"], len(snapshot["top"])) == (60, 1024, 50)
    assert snapshot["bytes"] == sum(entry.size for entry in world.cache.core._shelf)  # type: ignore[attr-defined]
    top = snapshot["top"][0]
    assert (top["key"], top["status"], top["age"], top["ttl"], top["hits"]) == ("/a/59", 200, 5, 95, 3)


@pytest.mark.parametrize("use", ["http", "ttl"])
async def test_successor_goes_on_with_the_entries(use: str) -> None:
    world = World("200", use=use, ttl=30, max_entries=3)
    for number in range(3):
        await world.get(f"/{number}")
    old = world.cache
    world.cache = World("200", use=use, ttl=20, max_entries=2).cache
    world.cache._clock = lambda: world.now  # type: ignore[method-assign]
    world.cache.adopt(old)
    world.now += 19
    assert [said(await world.get(f"/{n}"), "x-cache") for n in (1, 2)] == ["HIT", "HIT"]
    world.now += 1
    assert said(await world.get("/2"), "x-cache") == "MISS"
    assert world.cache.snapshot()["entries"] <= 2


async def test_successor_leaves_stated_lifetimes_alone() -> None:
    world = World(FRESH)
    await world.get()
    core = HttpCache(ttl=1)
    core.adopt(world.cache.core)  # type: ignore[arg-type]
    assert core.lookup(world.make(), world.now + 99).verdict is Verdict.HIT


async def test_core_may_be_an_object_a_class_or_named() -> None:
    for core in (HttpCache(ttl=30), HttpCache, TtlCache(ttl=30), TtlCache):
        world = World("200", core=core, ttl=30)
        assert isinstance(world.cache, Cache)
        await world.get()
        assert said(await world.get(), "x-cache") == "HIT"
