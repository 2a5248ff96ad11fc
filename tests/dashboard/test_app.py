"""The dashboard through Pilot: what each key does, against a fake stack, traffic and control."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from textual.content import Content

from lab.dashboard.app import Dashboard
from lab.dashboard.screens.help import Help
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import Message, View
from lab.dashboard.traffic import GREEDY
from lab.dashboard.widgets.bars import Hint, TopBar
from lab.dashboard.widgets.panel import Panel

from .fakes import Fake, FakeGateway, request


def text_of(app: Dashboard, kind: type[Panel]) -> str:
    rendered = app.screen.query_one(kind).render()
    assert isinstance(rendered, Content)
    return rendered.plain


async def test_every_key_of_the_footer_does_what_it_says(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await fake.done(pilot)
        assert fake.stack.calls == [("start", "")]

        await pilot.press("space")
        await fake.done(pilot)
        assert [r.url.path for r in fake.asked] == ["/service-a/items/1"]

        await pilot.press("b")
        await fake.done(pilot)
        assert [r.headers.get("x-forwarded-for") for r in fake.asked[1:]] == [GREEDY] * 20

        await pilot.press("plus")
        assert fake.app.traffic
        assert fake.app.traffic.rate == 10
        await pilot.press("minus")
        assert fake.app.traffic.rate == 5

        await pilot.press("t")
        assert fake.app.traffic.steady
        await pilot.press("t")
        assert not fake.app.traffic.steady

        await pilot.press("d")
        await fake.done(pilot)
        await pilot.press("d")
        await fake.done(pilot)
        assert fake.stack.calls[1:] == [("stop", "service-a"), ("start", "service-a")]

        await pilot.press("question_mark")
        assert isinstance(fake.app.screen, Help)
        await pilot.press("escape")
        assert not isinstance(fake.app.screen, Help)

        await pilot.press("q")
    assert fake.app.return_code == 0


async def test_a_viewer_has_no_keys_that_change_something(busy: View) -> None:
    fake = Fake(busy, may_act=False)
    async with fake.app.run_test() as pilot:
        for key in ("space", "t", "b", "d", "w", "plus"):
            await pilot.press(key)
        keys = {key for key, active in fake.app.active_bindings.items() if active.enabled}
    assert not keys & {"space", "t", "b", "d", "w", "plus"}
    assert fake.asked == []


class Source:
    """A feed under the test's control."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    async def __call__(self, status: Callable[[str, str], None]) -> AsyncIterator[Message]:
        status("live", "")
        while True:
            yield await self.queue.get()
            self.queue.task_done()


async def test_what_the_feed_says_is_painted(gateway: FakeGateway) -> None:
    source = Source()
    app = Dashboard(source)  # type: ignore[arg-type]
    async with app.run_test() as pilot:
        source.queue.put_nowait(gateway.snapshot())
        gateway.count(requests=3, hits=1, misses=2, admitted=3)
        source.queue.put_nowait(gateway.tick(requests=[request(200, "HIT")]))
        await source.queue.join()
        app.frame()
        await pilot.pause()
        assert "● live" in text_of(app, TopBar)
        shown = "\n".join(str(p.render()) for p in app.screen.query(Panel))
    assert "hit 1 miss 2" in shown
    assert "/service-a/items/1" in shown


async def test_a_panel_is_drawn_again_only_when_something_changed(gateway: FakeGateway) -> None:
    drawn = []
    app = Dashboard(view=View(status="live"))
    async with app.run_test():
        app.screen.show = lambda view: drawn.append(view)  # type: ignore[method-assign,attr-defined]
        app.frame()
        drawn.clear()
        app.frame()
        assert drawn == []
        app.touch()
        app.frame()
        assert len(drawn) == 1


async def test_a_frame_that_is_due_before_a_screen_is_mounted_waits_for_it(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await fake.done(pilot)
        for entry in SCREENS:
            fake.app.switch_mode(entry.mode)
            fake.app.touch()
            fake.app.frame()
            await pilot.pause()
            assert fake.app.current_mode == entry.mode


async def test_before_the_first_message_everything_has_a_value() -> None:
    async with Dashboard().run_test() as pilot:
        await pilot.pause()
        assert pilot.app.screen.query_one(Hint).hint.startswith("waiting for the gateway")


async def test_fifty_resizes(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        for n in range(50):
            await pilot.resize_terminal(1 + n * 37 % 170, 1 + n * 23 % 55)
        await pilot.resize_terminal(59, 24)
        assert fake.app.screen.has_class("-too-small")
        await pilot.resize_terminal(80, 24)
        assert not fake.app.screen.has_class("-too-small")


async def test_a_refused_control_call_is_told_in_one_line(busy: View) -> None:
    fake = Fake(busy)
    fake.status = 422
    async with fake.app.run_test() as pilot:
        assert fake.app.control
        fake.app.act(fake.app.control.purge())
        await fake.done(pilot)
        assert [n.message for n in fake.app._notifications] == ["422: no"]


@pytest.mark.parametrize("module", ["locust", "gevent", "numpy"])
def test_heavy_libraries_stay_out(module: str) -> None:
    import subprocess

    code = f"import lab.dashboard.commands, lab.dashboard.app, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
