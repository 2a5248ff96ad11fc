"""The policies in force, and how one is switched, tuned or exchanged while requests are passing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from lab.model import Emit
from lab.policies import Context, Guard, Stage
from lab.policies.guard import Trial, bounded
from lab.policies.pipeline import Slot
from lab.policies.plug import PlugError, oneline
from lab.settings import ConfigError, Section, Settings, describe

BUILD = 2.0
"""Seconds that loading and trying a class may take."""


class Policies:
    """The slots of the pipeline that a configuration section stands for, by that section's name."""

    def __init__(self, slots: Sequence[Slot], settings: Settings, context: Context, emit: Emit) -> None:
        self._slots = {slot.stage.section: slot for slot in slots if hasattr(settings, slot.stage.section)}
        self._options: dict[str, Any] = {name: getattr(settings, name) for name in self._slots}
        self._context = context
        self._emit = emit
        self._changes = asyncio.Lock()
        for name, slot in self._slots.items():
            slot.enabled = self._options[name].enabled
            if _plugged(self._options[name]):
                # A class from the configuration file has no predecessor: the built-in default is its net.
                net = type(self._options[name])().model_copy(update=_shared(self._options[name]))
                kind: Any = type(slot.stage)
                slot.stage = self._trial(name, kind, self._options[name], kind(net, context), net)

    @property
    def names(self) -> list[str]:
        return list(self._slots)

    def stage(self, name: str) -> Any:
        """The stage that serves now, without the guard around it."""
        stage = self._slots[name].stage
        return stage.stage if isinstance(stage, Trial) else stage

    def state(self, name: str) -> dict[str, Any]:
        """The stage's own figures; empty where it is off or not in the pipeline."""
        slot = self._slots.get(name)
        return slot.stage.snapshot() if slot is not None and slot.enabled else {}

    def snapshot(self) -> dict[str, Any]:
        result = {}
        for name, slot in self._slots.items():
            state = self.state(name)  # first: at a mistake in there the policy is another one afterwards
            options = self._options[name].model_dump(exclude={"enabled", "use", "keys"})
            result[name] = {
                "enabled": slot.enabled,
                "use": getattr(self._options[name], "use", None),
                "options": options,
                "plugged": isinstance(slot.stage, Trial),
                "state": state,
            }
        return result

    def breakers(self) -> dict[str, Any]:
        """Each service's breaker."""
        services: dict[str, Any] = self.state("breaker").get("services", {})
        return services

    def force_breaker(self, service: str, state: str) -> None:
        self.stage("breaker").force(service, state)

    def purge(self, path: str | None) -> int:
        """How many entries of the cache were removed: those of `path`, or all."""
        cache = self.stage("cache")
        return int(cache.clear() if path is None else cache.purge(path))

    def forget(self, service: str) -> None:
        """Drop what was stored of a service that is gone or has moved."""
        self.stage("cache").forget(service)

    # -- change ----------------------------------------------------------------------------------------------

    async def put(
        self, name: str, enabled: bool | None, use: str | None, options: dict[str, Any] | None
    ) -> None:
        """Change the policy `name`; what is None stays. Raises ConfigError or PlugError and changes nothing.

        The old stage serves until the new one has been built and tried; a class of somebody else's runs
        under guard from then on, and the last good stage takes over at its first mistake.
        """
        async with self._changes:
            slot, old = self._slots[name], self._options[name]
            merged = old.model_dump() | (options or {})
            if enabled is not None:
                merged["enabled"] = enabled
            if use is not None:
                merged["use"] = use
            try:
                new = type(old).model_validate(merged)
            except ValidationError as error:
                raise ConfigError(f"{name}.{describe(error, type(old))}") from None
            same_but_switched = new.model_copy(update={"enabled": old.enabled}) == old and use is None
            if not same_but_switched:
                await self._exchange(name, slot, old, new)
            slot.enabled = new.enabled
            self._options[name] = new
            action = "enabled" if new.enabled else "disabled"
            if not same_but_switched:
                action = "swapped" if getattr(new, "use", None) != getattr(old, "use", None) else "tuned"
            self._emit("policy", name=name, action=action, use=getattr(new, "use", None), enabled=new.enabled)

    async def _exchange(self, name: str, slot: Slot, old: Section, new: Section) -> None:
        running: Any = self.stage(name)
        kind = type(running)
        if not _plugged(new):
            stage: Stage = kind(new, self._context)
            if getattr(new, "use", None) == getattr(old, "use", None):
                stage.adopt(running)
            slot.stage = stage
            return
        good, good_options = slot.stage, old
        if isinstance(slot.stage, Trial):
            good, good_options = slot.stage.fallback, slot.stage.fallback_options

        def build() -> Stage:
            # Tried on a stage of its own, so that the trial leaves no trace in the one that will serve.
            if (prove := getattr(kind, "prove", None)) is not None:
                prove(new, self._context)
            return self._trial(name, kind, new, good, good_options)

        try:
            slot.stage = await bounded(build, BUILD)
        except PlugError:
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise PlugError(f"use: {getattr(new, 'use', '')}: {oneline(error)}") from error

    def _trial(
        self, name: str, kind: type[Stage], options: Section, good: Stage, good_options: Section
    ) -> Trial:
        """A stage of that kind with a class of somebody else's in it, on trial."""

        def roll_back(trial: Trial, error: BaseException) -> None:
            slot = self._slots[name]
            if slot.stage is trial:
                slot.stage = good
                failed = getattr(self._options[name], "use", None)
                self._options[name] = good_options.model_copy(update={"enabled": slot.enabled})
                self._emit("policy", name=name, action="rolled_back", use=failed, reason=oneline(error))

        def make(guard: Guard) -> Stage:
            return kind(options, replace(self._context, guard=guard))

        return Trial(make, good, good_options, roll_back)

    async def aclose(self) -> None:
        """Let stages that hold tasks of their own end them."""
        for name in self._slots:
            close = getattr(self.stage(name), "aclose", None)
            if close is not None:
                await close()


def _plugged(options: Any) -> bool:
    return ":" in (getattr(options, "use", None) or "")


def _shared(options: Section) -> dict[str, Any]:
    return {name: value for name, value in options if name != "use"}
