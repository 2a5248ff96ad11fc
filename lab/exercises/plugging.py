"""Puts a student's class into the running gateway, and takes it out again, through the admin API."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lab.errors import UserError
from lab.exercises.catalog import Exercise
from lab.launcher import runfile
from lab.launcher.runfile import Run


class Refused(Exception):
    """The gateway does not want it; the text is its reason."""


@dataclass(frozen=True)
class Policy:
    """What the gateway says of one of its policies."""

    section: str
    use: str
    enabled: bool
    options: dict[str, Any]
    shadow: dict[str, Any] | None = None
    """What is compared with it: `use`, `requests`, `difference` (None as long as there is none)."""


class Gateway:
    """The admin API of a running gateway, as far as plugging needs it. To be closed."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        # 2 s to load a class, twice that until the gateway gives up on it.
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=8.0, trust_env=False, transport=transport
        )
        self.url = url

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def policy(self, section: str) -> Policy:
        return self._policy(section, self._ask("GET", f"policies/{section}"))

    def use(self, section: str, use: str, *, enabled: bool = True) -> Policy:
        """Let `section` use another algorithm. Raises `Refused` with the gateway's reason."""
        return self._policy(
            section, self._ask("PUT", f"policies/{section}", {"use": use, "enabled": enabled})
        )

    def rolled_back(self, section: str, use: str) -> str | None:
        """The reason, where the last that happened to `section` is that the class was taken out; or None."""
        events = self._ask("GET", "snapshot")["events"]
        about = [event for event in events if event["kind"] == "policy" and event["name"] == section]
        last = about[-1] if about else {}
        return last["reason"] if (last.get("action"), last.get("use")) == ("rolled_back", use) else None

    def shadow(self, section: str, use: str) -> Policy:
        """Let the class that `use` names be compared with what serves `section`. Raises `Refused`."""
        return self._policy(section, self._ask("PUT", f"policies/{section}/shadow", {"use": use}))

    def _policy(self, section: str, document: dict[str, Any]) -> Policy:
        shadow = document.get("shadow")
        return Policy(section, document["use"], document["enabled"], document["options"], shadow)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, f"/admin/{path}", json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UserError(f"the gateway at {self.url} does not answer ({reason}): lab doctor") from None
        try:
            document: dict[str, Any] = response.json()
        except ValueError:
            raise UserError(f"{self.url} does not speak like a gateway of the lab") from None
        if response.status_code == 422:
            raise Refused(document.get("detail", "no reason given"))
        if response.status_code != 200:
            raise UserError(f"the gateway answered {response.status_code}: {document.get('detail', '')}")
        return document


def running() -> Gateway:
    """The gateway of the stack that runs. Raises `UserError` where none does."""
    run = runfile.read()
    if run is None:
        raise UserError(
            "no lab runs that a class could be plugged into; start one in another terminal: lab up"
        )
    return Gateway(run.gateway_url, run.admin_token)


def place(exercise: Exercise) -> tuple[str, str]:
    """The section that the exercise's class belongs to, and its `use`. Raises `UserError`."""
    if exercise.plug is None:
        raise UserError(f"exercise {exercise.number} is no policy: there is no place for it in the gateway")
    return exercise.plug.section, f"{exercise.file}:{exercise.plug.name}"


def plug(exercise: Exercise, gateway: Gateway) -> Policy:
    """Put the class into the gateway as it is saved now; remember what was there. Raises `Refused`."""
    section, use = place(exercise)
    before = gateway.policy(section)
    after = gateway.use(section, use)
    if ":" not in before.use and before.shadow is None:
        _remember(section, before)
    return after


def compare(exercise: Exercise, gateway: Gateway) -> Policy:
    """Let the lab's own algorithm serve, and compare the class with it; remember what was there.

    Raises `Refused`.
    """
    section, use = place(exercise)
    assert exercise.plug is not None
    before = gateway.policy(section)
    gateway.use(section, exercise.plug.reference)
    try:
        after = gateway.shadow(section, use)
    except Refused:
        gateway.use(section, before.use, enabled=before.enabled)
        raise
    if ":" not in before.use and before.shadow is None:
        _remember(section, before)
    return after


def taken_out(exercise: Exercise, gateway: Gateway) -> str | None:
    """Why the gateway took the exercise's class out by itself; None where it did not."""
    return gateway.rolled_back(*place(exercise))


def unplug(exercise: Exercise, gateway: Gateway) -> Policy:
    """Put back what was there before a student's class came, as the serving one or as a shadow.

    Raises `UserError`, `Refused`.
    """
    section, use = place(exercise)
    now = gateway.policy(section)
    if use not in (now.use, (now.shadow or {}).get("use")):
        what = "another file's class" if ":" in now.use else f"the built-in '{now.use}'"
        reason = gateway.rolled_back(section, use)
        state = f"no longer plugged in (the gateway took it out: {reason})" if reason else "not plugged in"
        raise UserError(f"exercise {exercise.number} is {state}: {section} uses {what}")
    before = _remembered(section)
    after = gateway.use(section, before.use, enabled=before.enabled)
    _forget(section)
    return after


# -- what was there before -----------------------------------------------------------------------------------

BUILT_IN = {"rate_limit": "sliding_window", "cache": "http", "breaker": "consecutive", "retry": "backoff"}
"""What to go back to where nothing is remembered, as when the gateway was restarted meanwhile."""


def _file() -> Path:
    return runfile.home() / "plugged.json"


def _read() -> dict[str, dict[str, Any]]:
    """Section → what it used, for the stack that runs now; a stack that is gone took its state with it."""
    run: Run | None = runfile.read()
    try:
        document = json.loads(_file().read_text(encoding="utf-8"))
        fits = run is not None and document["started"] == run.started
        return dict(document["before"]) if fits else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(before: dict[str, dict[str, Any]]) -> None:
    run = runfile.read()
    draft = _file().with_name(f"plugged.{os.getpid()}.tmp")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps({"started": run.started if run else 0.0, "before": before}), encoding="utf-8")
    os.replace(draft, _file())


def _remember(section: str, policy: Policy) -> None:
    _write(_read() | {section: {"use": policy.use, "enabled": policy.enabled}})


def _remembered(section: str) -> Policy:
    known = _read().get(section, {"use": BUILT_IN.get(section, ""), "enabled": True})
    return Policy(section, known["use"], known["enabled"], {})


def _forget(section: str) -> None:
    with contextlib.suppress(OSError):
        _write({name: value for name, value in _read().items() if name != section})
