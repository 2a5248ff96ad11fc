import pytest

from lab.policies.per_service import PerService
from lab.settings import ServiceSettings

A = ServiceSettings(url="http://127.0.0.1:1")
B = ServiceSettings(url="http://127.0.0.1:2")


def test_made_once_for_each_service_and_never_for_others() -> None:
    made: list[str] = []
    things = PerService({"a": A, "b": B}, lambda name: (made.append(name), object())[1])
    first = things.get("a")
    assert things.get("a") is first
    assert things.get("b") is not first
    assert things.get("invented") is None
    assert made == ["a", "b"]


def test_kept_through_other_changes_made_anew_at_another_address() -> None:
    services = {"a": A}
    things = PerService(services, lambda _: object())
    first = things.get("a")
    services["a"] = A.model_copy(update={"timeout": 1.0})
    assert things.get("a") is first
    services["a"] = B
    assert things.get("a") is not first


def test_a_service_that_is_gone_loses_its_thing() -> None:
    services = {"a": A, "b": B}
    things = PerService(services, lambda _: object())
    first = dict(things.items())
    del services["a"], services["b"]
    assert things.get("a") is None
    assert list(things.items()) == []
    services.update(a=A, b=B)
    again = dict(things.items())
    assert again["a"] is not first["a"]
    assert again["b"] is not first["b"]


def test_put_replaces_only_for_a_configured_service() -> None:
    things: PerService[object] = PerService({"a": A}, lambda _: object())
    other = object()
    things.put("a", other)
    assert things.get("a") is other
    with pytest.raises(KeyError):
        things.put("b", other)
