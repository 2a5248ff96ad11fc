"""The engine on a fake feed, in a loop whose time passes only where everybody waits."""

import asyncio
import contextlib
import selectors

import pytest

from lab.errors import UserError
from lab.scenarios import engine
from lab.scenarios.model import Contrast, Expect, Scenario, Step
from lab.scenarios.play import NotSeen
from lab.scenarios.recording import Recording


class Skipping(selectors.SelectSelector):
    """Instead of waiting, time is put forward."""

    passed = 0.0

    def select(self, timeout=None):
        self.passed += timeout or 0.0
        return super().select(0)


class FakeLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self):
        return self.skipping.passed


@pytest.fixture
def run():
    loop = FakeLoop()
    yield loop.run_until_complete
    loop.close()


class FakePlay:
    """A play whose feed the test writes."""

    def __init__(self, cured=False):
        self.cured = cured
        self.recording = Recording()
        self.recording.begin({"type": "snapshot", "seq": 0, "totals": {}})
        self.seq = 0
        self.ended = False
        self.said = []

    @contextlib.asynccontextmanager
    async def on(self, scenario):
        try:
            yield self
        finally:
            self.ended = True

    async def say(self, text):
        self.said.append(text)

    async def look(self):
        pass

    async def linger(self):
        pass

    def hear(self, **event):
        self.seq += 1
        self.recording.hear({"type": "event", "seq": self.seq, **event})

    def later(self, seconds, **event):
        asyncio.get_running_loop().call_later(seconds, lambda: self.hear(**event))


OPENED = {"kind": "breaker", "service": "a", "from": "closed", "to": "open"}


def scenario(*steps, contrast=()):
    return Scenario(
        name="test",
        title="",
        story="",
        cure="",
        source="",
        script=lambda cured: steps,
        contrast=contrast,
        questions=(),
        look_at="",
    )


async def nothing(play):
    pass


def opens(by=3.0):
    return Expect("it opens", lambda r: r.states("a") == ["open"], by)


def test_what_the_feed_shows_is_seen(run):
    async def open_it(play):
        play.hear(**OPENED)

    play = FakePlay()
    result = run(engine.perform(scenario(Step("breaks", open_it, [opens()])), play))
    assert result.ok
    assert result.seen == ["it opens"]
    assert result.order == ["breaker a: closed → open"]
    assert play.said == ["breaks"]
    assert play.ended


def test_the_feed_may_be_late_but_not_too_late(run):
    async def open_later(play):
        play.later(2.0, **OPENED)

    assert run(engine.perform(scenario(Step("", open_later, [opens(by=3)])), FakePlay())).ok
    result = run(engine.perform(scenario(Step("", open_later, [opens(by=1)])), FakePlay()))
    assert not result.ok
    assert result.missed == ["it opens"]


def test_another_order_is_another_thing(run):
    async def close_first(play):
        play.hear(**{**OPENED, "from": "open", "to": "closed"})
        play.hear(**OPENED)

    assert run(engine.perform(scenario(Step("", close_first, [opens()])), FakePlay())).missed == ["it opens"]


def test_a_check_that_finds_nothing_to_look_at_is_not_true(run):
    checks = [
        Expect("a figure", lambda r: r.figures["none"] == 0),
        Expect("an outcome", lambda r: r.tagged("none")[0].ok),
        Expect("a share", lambda r: r.good("none") / r.count("none") >= 0),
    ]
    result = run(engine.perform(scenario(Step("", nothing, checks)), FakePlay()))
    assert result.missed == ["a figure", "an outcome", "a share"]


@pytest.mark.parametrize(
    "error", [NotSeen("no probe came"), UserError("no probe came"), OSError("no probe came")]
)
def test_a_step_that_fails_ends_the_play(run, error):
    async def fail(play):
        raise error

    play = FakePlay()
    result = run(engine.perform(scenario(Step("waits", fail), Step("never", nothing)), play))
    assert result.missed == ["waits: no probe came"]
    assert play.said == ["waits"]
    assert play.ended


def test_a_step_that_hangs_ends_the_play(run):
    async def hang(play):
        await asyncio.Event().wait()

    result = run(engine.perform(scenario(Step("waits", hang, within=5)), FakePlay()))
    assert result.missed == ["waits: not done within 5 s"]


class FakeGround:
    def __init__(self):
        self.plays = []

    def play(self, *, cured, seed, without):
        self.plays.append(FakePlay(cured))
        return self.plays[-1]


@pytest.mark.parametrize(("on", "ok"), [(1, True), (9, False)])
def test_both_plays_must_differ(run, on, ok):
    async def measure(play):
        play.recording.figures["asked"] = on if play.cured else 9

    contrast = [Contrast("fewer are asked", lambda off, on: on["asked"] < off["asked"])]
    verdict = run(engine.run(scenario(Step("", measure), contrast=contrast), FakeGround()))
    assert verdict.ok is ok
    assert (verdict.differs, verdict.same) == ((["fewer are asked"], []) if ok else ([], ["fewer are asked"]))
    assert [play.cured for play in verdict.plays] == [False, True]


def test_one_missed_expectation_of_either_play_fails_the_run(run):
    step = Step("", nothing, [Expect("cured", lambda r: False)])
    assert not run(engine.run(scenario(step), FakeGround(), (True,))).ok
    assert run(engine.run(scenario(Step("", nothing)), FakeGround(), (True,))).ok


def test_lines_come_in_the_order_of_the_play(run):
    lines = []
    steps = [Step("one", nothing, [Expect("yes", lambda r: True)]), Step("two", nothing, [opens()])]
    run(engine.run(scenario(*steps), FakeGround(), (False,), tell=lines.append))
    assert [(line.kind, line.text) for line in lines[1:]] == [
        ("say", "one"),
        ("seen", "yes"),
        ("say", "two"),
        ("missed", "it opens (requests so far: no requests)"),
    ]
