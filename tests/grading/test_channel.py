"""The conversation with a submission, where the other side says what it likes."""

import asyncio
import itertools
import json
import socket
import struct
import threading

import pytest

from lab.grading import channel as channel_module
from lab.grading.channel import ConversationOver, RemoteChannel


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with ours, theirs:
        yield RemoteChannel(ours, 10, itertools.count(1).__next__), Other(theirs)


class Other:
    """The submission's end, driven by the test."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, *messages):
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self):
        (length,) = struct.unpack(">I", self.sock.recv(4, socket.MSG_WAITALL))
        return json.loads(self.sock.recv(length, socket.MSG_WAITALL))


def test_an_answer_goes_to_its_question(pair):
    channel, other = pair
    other.send({"answer": 1, "message": {"value": 5}})
    assert channel.ask("new", {}) == {"value": 5}
    assert other.receive() == {"n": 1, "op": "new", "fields": {}}
    assert channel.ended == ""


def test_nobody_can_answer_before_it_is_asked():
    """An answer has the number of its question, which is a different one each time."""
    seen = set()
    for _ in range(20):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            other = Other(theirs)
            other.send(*({"answer": n, "message": {"value": "passed"}} for n in range(200)))
            channel = RemoteChannel(ours, 10)
            with pytest.raises(ConversationOver):
                channel.ask("load", {})
            assert channel.ended == "broken"
            seen.add(other.receive()["n"])
    assert len(seen) == 20


def test_many_large_messages_end_the_conversation(pair, monkeypatch):
    """What a check's callback lets wait stays in memory."""
    monkeypatch.setattr(channel_module, "MOST_BYTES", 1000)
    channel, other = pair
    other.send({"answer": 1, "message": {"value": "x" * 900}})
    assert channel.ask("call", {})["value"]
    other.send({"answer": 2, "message": {"value": "x" * 900}})
    with pytest.raises(ConversationOver):
        channel.ask("call", {})
    assert (channel.ended, channel.detail) == ("broken", "it sent more than 0 MiB")


def test_a_message_of_many_parts_is_not_even_read(pair, monkeypatch):
    """Eight megabytes of empty lists are half a gigabyte of Python's."""
    monkeypatch.setattr(channel_module.json, "loads", None)
    channel, other = pair
    sending = threading.Thread(target=other.send, args=(b"[" + b"[]," * 1_000_001 + b"[]]",))
    sending.start()
    with pytest.raises(ConversationOver):
        channel.ask("call", {})
    sending.join()
    assert "parts" in channel.detail


@pytest.mark.parametrize(
    "message",
    [
        {"answer": 2, "message": {"value": None}},
        {"answer": "1", "message": {"value": None}},
        {"answer": 1, "message": "passed"},
        {"answer": 1, "message": {"raised": "passed"}},
        {"answer": 1},
        {"call": 1, "callback": 0, "args": []},
        {"result": {"status": "passed"}},
        ["passed"],
        None,
        b"",
        b"passed",
        b'{"answer": 1, "message": {"value": NaN}}',
        b"[" * 100_000,
        b"9" * 10_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_answer_ends_the_conversation(pair, message):
    channel, other = pair
    other.send(message)
    with pytest.raises(ConversationOver):
        channel.ask("new", {})
    assert channel.ended == "broken"
    with pytest.raises(ConversationOver):
        channel.ask("new", {})


def test_a_second_answer_to_one_question_ends_the_conversation(pair):
    channel, other = pair
    other.send({"answer": 1, "message": {"value": 1}}, {"answer": 1, "message": {"value": 2}})
    with pytest.raises(ConversationOver):
        channel.ask("call", {})
    assert channel.ended == "broken"


def test_an_announced_length_is_not_waited_for(pair):
    channel, other = pair
    other.sock.sendall(struct.pack(">I", channel_module.LARGEST + 1))
    with pytest.raises(ConversationOver):
        channel.ask("call", {})
    assert channel.ended == "broken"


def test_silence_is_a_hang():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = RemoteChannel(ours, 0.05)
        with pytest.raises(ConversationOver):
            channel.ask("call", {})
        assert channel.ended == "hung"


async def test_silence_is_a_hang_for_who_waits_asynchronously_too():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = RemoteChannel(ours, 0.05)
        with pytest.raises(ConversationOver):
            await channel.ask_async("start", {})
        assert channel.ended == "hung"


def test_who_hangs_up_is_gone(pair):
    channel, other = pair
    other.sock.close()
    with pytest.raises(ConversationOver):
        channel.ask("call", {})
    assert channel.ended == "closed"


async def test_who_hangs_up_is_gone_for_all_who_wait(pair):
    channel, other = pair
    waiting = [asyncio.create_task(channel.ask_async("start", {})) for _ in range(3)]
    await asyncio.sleep(0)
    other.sock.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ConversationOver] * 3


async def test_answers_may_come_in_any_order_and_between_other_questions(pair):
    channel, other = pair
    first = asyncio.create_task(channel.ask_async("start", {}))
    second = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    other.send(
        {"answer": 2, "message": {"value": 2}},
        {"answer": 3, "message": {"value": 3}},
        {"answer": 1, "message": {"value": 1}},
    )
    assert channel.ask("tick", {}) == {"value": 3}
    assert [await first, await second] == [{"value": 1}, {"value": 2}]


async def test_a_callback_is_run_and_answered(pair):
    channel, other = pair

    async def double(args):
        return {"value": args[0] * 2}

    assert channel.callback(double) == 0
    asked = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    other.send({"call": 9, "callback": 0, "args": [21]}, {"answer": 1, "message": {"value": None}})
    await asked
    assert await asyncio.to_thread(lambda: [other.receive(), other.receive()][1]) == {
        "answer": 9,
        "message": {"value": 42},
    }


async def test_cancelling_waits_until_the_work_is_over(pair):
    channel, other = pair
    asked = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    asked.cancel()
    told = await asyncio.to_thread(lambda: [other.receive(), other.receive()][1])
    assert told == {"cancel": 1}
    assert not asked.done()
    other.send({"answer": 1, "message": {"raised": {"kind": "CancelledError"}}})
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_a_cancellation_is_there_before_what_is_said_after_it(pair):
    """As beside the check, where cancelling a task takes it out of what it waits for at once."""
    channel, other = pair
    asked = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    other.send({"answer": 2, "message": {"value": None}})
    asked.cancel()
    channel.ask("tick", {})
    told = await asyncio.to_thread(lambda: [other.receive() for _ in range(3)])
    assert [list(message) for message in told] == [["n", "op", "fields"], ["cancel"], ["n", "op", "fields"]]
    other.send({"answer": 1, "message": {"raised": {"kind": "CancelledError"}}})
    await asyncio.gather(asked, return_exceptions=True)


async def test_who_swallows_a_cancellation_answers_all_the_same(pair):
    channel, other = pair
    asked = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    asked.cancel()
    other.send({"answer": 1, "message": {"value": 7}})
    assert await asked == {"value": 7}


async def test_who_does_not_end_when_cancelled_is_hung():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = RemoteChannel(ours, 0.2)
        asked = asyncio.create_task(channel.ask_async("start", {}))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(ConversationOver):
            await asked
        assert channel.ended == "hung"


async def test_more_callbacks_at_once_than_anybody_needs_end_the_conversation(pair, monkeypatch):
    monkeypatch.setattr(channel_module, "MOST_CALLS", 3)
    channel, other = pair

    async def never(args):
        await asyncio.Event().wait()

    channel.callback(never)
    asked = asyncio.create_task(channel.ask_async("start", {}))
    await asyncio.sleep(0)
    other.send(*({"call": n, "callback": 0, "args": []} for n in range(5)))
    with pytest.raises(ConversationOver):
        await asked
    assert channel.ended == "broken"
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def test_who_does_not_read_is_hung():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = RemoteChannel(ours, 0.05)
        with pytest.raises(ConversationOver):
            channel.ask("call", {"args": "x" * (4 << 20)})
        assert channel.ended == "hung"
