from __future__ import annotations

import pytest

from lab.policies.guard import Watchdog


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds for a plugged-in class, not a quarter: a busy machine takes that from an honest one."""
    monkeypatch.setattr(Watchdog.__init__, "__defaults__", (2.0,))
