"""What a feed is to the dashboard: live (`client.follow`) or from a recording (`recording.Replay`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from lab.dashboard.state import Message

Status = Callable[[str, str], None]
"""`status(state, reason)`: live, lost …, and why, in a few words."""

Source = Callable[[Status], AsyncIterator[Message]]
"""Given somebody to tell its state to, the messages of a feed."""
