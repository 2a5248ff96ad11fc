"""One thing of a kind for each service: a breaker, a budget, a compartment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from lab.settings import ServiceSettings

T = TypeVar("T")


class PerService(Generic[T]):
    """One T for each configured service, made when it is first asked for.

    A service that was taken out of the configuration loses its T, and one that moved to another address gets
    a fresh one: what was learnt about the old address says nothing about the new. Other changes (a timeout,
    say) keep it. There are never more of them than services, so clients cannot make them grow.
    """

    def __init__(self, services: Mapping[str, ServiceSettings], make: Callable[[str], T]) -> None:
        self._services = services
        self._make = make
        self._entries: dict[str, tuple[ServiceSettings, T]] = {}

    def get(self, name: str) -> T | None:
        """The T of the service `name`; None where no such service is configured."""
        settings = self._services.get(name)
        entry = self._entries.get(name)
        if entry is not None and entry[0] is settings:
            return entry[1]
        if settings is None:
            self._entries.pop(name, None)
            return None
        thing = entry[1] if entry is not None and entry[0].url == settings.url else self._make(name)
        self._entries[name] = settings, thing
        return thing

    def put(self, name: str, thing: T) -> None:
        """Give the configured service `name` this T; raises KeyError where there is no such service."""
        self._entries[name] = self._services[name], thing

    def items(self) -> Iterator[tuple[str, T]]:
        """Every configured service with its T."""
        for name in [name for name in self._entries if name not in self._services]:
            del self._entries[name]
        for name in list(self._services):
            thing = self.get(name)
            assert thing is not None
            yield name, thing
