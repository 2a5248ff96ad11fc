"""For a room: the narration of a scenario, and no secrets among what happened."""

from __future__ import annotations

import pytest
from textual.content import Content

from lab.dashboard import text
from lab.dashboard.screens.present import Narration
from lab.dashboard.state import View
from lab.dashboard.widgets.events import describe

from .fakes import Fake, FakeGateway


async def test_a_scenario_is_narrated_step_by_step(busy: View, gateway: FakeGateway) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("v")
        narration = fake.app.screen.query_one(Narration)
        assert narration.size.height == 0
        for words in ("The page leaves the cache.", "Fifty readers want it at once. " * 5):
            busy.fold(gateway.event("note", source="scenario", text=words, action="says"))
            fake.app.touch()
            fake.app.frame()
            await pilot.pause()
            shown = narration.render()
            assert isinstance(shown, Content)
            assert " ".join(shown.plain.split()) == words.strip()
        assert narration.size.height > 1
        gateway.time += 31
        busy.fold(gateway.tick())
        fake.app.touch()
        fake.app.frame()
        await pilot.pause()
        assert narration.size.height == 0


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("/items?token=abc&page=2", "/items?token=…&page=…"),
        ("purged /a?key=s3cret now", "purged /a?key=… now"),
        ("/items/1", "/items/1"),
    ],
)
def test_what_stands_in_a_query_is_masked(words: str, shown: str) -> None:
    assert text.masked(words) == shown
    assert shown in describe({"kind": "cache", "action": "purged", "path": words}).plain
    assert shown in describe({"kind": "note", "action": "says", "text": words}).plain
