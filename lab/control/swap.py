"""The policies in force, and how one is switched, tuned or exchanged while requests are passing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from lab.model import Emit
from lab.policies import Context, Guard, Stage
from lab.policies.guard import Trial, bounded
from lab.policies.pipeline import Slot
from lab.policies.plug import PlugError, oneline
from lab.policies.shadow import Difference, Shadow, Shadowed, pair
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
        """The stage that serves now, without what is around it."""
        stage = self._slots[name].stage
        return stage.stage if isinstance(stage, Trial | Shadowed) else stage

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
            if isinstance(slot.stage, Shadowed):
                result[name]["shadow"] = slot.stage.shadow.snapshot()
        return result

    def breakers(self) -> dict[str, Any]:
        """Each service's breaker."""
        services: dict[str, Any] = self.state("breaker").get("services", {})
        return services

    def force_breaker(self, service: str, state: str) -> Any:
        """Hold a service's breaker in a state, or let it go (`auto`); its figures, on or off."""
        self.stage("breaker").force(service, state)
        return self._slots["breaker"].stage.snapshot()["services"][service]

    def purge(self, path: str | None) -> int:
        """How many entries of the cache were removed: those of `path`, or all."""
        cache = self.stage("cache")
        return int(cache.clear() if path is None else cache.purge(path))

    def forget(self, service: str) -> None:
        """Drop what was stored of a service that is gone or has moved."""
        if "cache" in self._slots:
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
            same = getattr(new, "use", None) == getattr(old, "use", None)
            if same and not isinstance(slot.stage, Shadowed):
                stage.adopt(running)
            slot.stage = stage
            return
        good, good_options = slot.stage, old
        if isinstance(slot.stage, Trial):
            good, good_options = slot.stage.fallback, slot.stage.fallback_options
        elif isinstance(slot.stage, Shadowed):
            good = kind(old, self._context)

        def build() -> Stage:
            # Tried on a stage of its own, so that the trial leaves no trace in the one that will serve.
            if (prove := getattr(kind, "prove", None)) is not None:
                prove(new, self._context)
            return self._trial(name, kind, new, good, good_options)

        slot.stage = await self._tried(getattr(new, "use", ""), build)

    async def _tried(self, use: str, build: Callable[[], Stage]) -> Stage:
        """What `build` makes of the class that `use` names. Raises PlugError."""
        try:
            return await bounded(build, BUILD)
        except (PlugError, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise PlugError(f"use: {use}: {oneline(error)}") from error

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

    # -- a shadow --------------------------------------------------------------------------------------------

    async def shadow(self, name: str, use: str | None) -> None:
        """Let the class that `use` names be asked what the policy `name` is asked; None ends that.

        Both begin afresh, and at the end so does the policy alone. Nothing that the class does reaches a
        client. A change of the policy's algorithm or options ends it as well. Raises PlugError and changes
        nothing.
        """
        async with self._changes:
            slot, options = self._slots[name], self._options[name]
            kind: Any = type(self.stage(name))
            if use is None:
                if isinstance(slot.stage, Shadowed):
                    slot.stage = kind(options, self._context)
                    self._emit("policy", name=name, action="unshadowed", use=options.use)
                return

            def differs(difference: Difference) -> None:
                self._emit("policy", name=name, action="differs", use=use, reason=str(difference))

            shadow = Shadow(use)

            def build() -> Stage:
                both = pair(name, getattr(options, "use", ""), shadow)
                kind.prove(options.model_copy(update={"use": use}), self._context)
                return Shadowed(kind(options, self._context, core=both), shadow)

            stage = await self._tried(use, build)
            if shadow.difference is not None:
                raise PlugError(f"use: {use}: {shadow.difference}")
            shadow.differs = differs
            slot.stage = stage
            self._emit("policy", name=name, action="shadowed", use=use)

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
