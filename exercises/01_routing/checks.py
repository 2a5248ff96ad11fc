"""The checks of exercise 01."""

from __future__ import annotations

import random
from typing import Any

from lab.exercises.kit import Shape, Student, check, expect, raises

ROUTE = Shape("Route", service=str, path=str, query=str, url=str)
SERVICES = {"service-a": "http://127.0.0.1:8001", "service-b": "http://127.0.0.1:8002"}
FIRST = "test_the_first_segment_names_the_service"
DISGUISE = {"words": ("service", "SERVICE", "Service", "items", "orders", "nothing", "color")}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def route(student: Student, target: str, services: dict[str, str] | None = None) -> Any:
    router = student.new("Router", SERVICES if services is None else services)
    return router.answering(route=ROUTE | None).route(target)


def found(student: Student, target: str) -> Any:
    """The route of a target that has one."""
    router = student.new("Router", SERVICES)
    return router.answering(route=ROUTE).route(target)


@check(
    points=3,
    why="One address for many services: the first part of the path says which one is meant.",
    look="the path up to the second slash",
    mistake="first-segment",
)
def test_the_first_segment_names_the_service(student: Student) -> None:
    expect(found(student, "/service-a/items/1").service, "service-a", of="service of /service-a/items/1")
    expect(found(student, "/service-b/items/1").service, "service-b", of="service of /service-b/items/1")
    expect(
        found(student, "/service-b/service-a/1").service, "service-b", of="service of /service-b/service-a/1"
    )


@check(
    points=2,
    why="The service does not know the name that the gateway gave it.",
    after=(FIRST,),
    look="what is left of the path when `/` and the service's name are taken off its front, once",
    mistake="prefix",
)
def test_the_service_is_asked_without_its_name(student: Student) -> None:
    expect(found(student, "/service-a/items/1").path, "/items/1", of="path of /service-a/items/1")
    expect(found(student, "/service-a/a/b/c/").path, "/a/b/c/", of="path of /service-a/a/b/c/")
    target = "/service-a/service-a/service-a"
    expect(found(student, target).path, "/service-a/service-a", of=f"path of {target}")


@check(
    points=2,
    why="A request without a path is malformed (RFC 9112 §3.2.1).",
    after=(FIRST,),
    look="what is left when nothing follows the service's name",
    mistake="empty-path",
)
def test_an_empty_path_becomes_a_slash(student: Student) -> None:
    for target in ("/service-a", "/service-a/", "/service-a?color=red"):
        expect(found(student, target).path, "/", of=f"path of {target}")


@check(
    points=2,
    why="Nobody answers for a service that does not exist: that is a 404.",
    after=(FIRST,),
    look="what you return where the name is not in the table: None",
    mistake="unknown",
)
def test_an_unknown_service_has_no_route(student: Student) -> None:
    for target in ("/nothing/items/1", "/", "/items/1", "//service-a/items/1", "/nothing/service-a/1"):
        expect(route(student, target), None, of=f"route of {target}")
    expect(route(student, "/service-a/items/1", services={}), None, of="route where there are no services")
    other = {"orders": "http://10.0.0.7:9000"}
    expect(route(student, "/service-a/items/1", services=other), None, of="route where only orders is known")


@check(
    points=2,
    why="A name that merely begins like a service's must not reach it.",
    after=(FIRST,),
    look="comparing the whole segment, not the beginning of the path",
    mistake="whole-segment",
)
def test_a_name_must_match_as_a_whole(student: Student) -> None:
    for target in ("/service-ab/items/1", "/service/items/1", "/service-a-internal", "/SERVICE-A/items/1"):
        expect(route(student, target), None, of=f"route of {target}")
    two = {"shop": "http://127.0.0.1:1", "shop-admin": "http://127.0.0.1:2"}
    for name in two:
        chosen = student.new("Router", two).answering(route=ROUTE).route(f"/{name}/x")
        expect(chosen.service, name, of=f"service of /{name}/x")


@check(
    points=2,
    why="What a query means, its order and its escapes, is between the client and the service.",
    after=(FIRST,),
    look="the first question mark: what comes before is the path, all that comes after is the query",
    mistake="query",
)
def test_the_query_is_kept_as_it_is(student: Student) -> None:
    for query in (
        "color=red",
        "b=2&a=1&a=0",
        "a=1&&b&d=&%2f&;",
        "next=/service-b/x",
        "q=what?&r=??",
        "n=%C3%A9+e",
    ):
        target = f"/service-a/items?{query}"
        chosen = found(student, target)
        expect(chosen.query, query, of=f"query of {target}")
        expect(chosen.path, "/items", of=f"path of {target}")
    expect(found(student, "/service-a/items").query, "", of="query where there is none")


@check(
    points=2,
    why="An escape that is decoded on the way means something else when it arrives: %2F is no slash.",
    after=("test_the_service_is_asked_without_its_name",),
    look="what you decode or tidy up on the way: nothing of what is forwarded",
    mistake="not-as-it-is",
)
def test_the_path_is_kept_as_it_is(student: Student) -> None:
    for path in (
        "/a%2Fb",
        "/what%3F",
        "/100%25",
        "/a%20b",
        "//items//1",
        "/Caf%C3%A9",
        "/a+b;v=1",
        "/..a/b..",
        "/...",
    ):
        expect(found(student, f"/service-a{path}").path, path, of=f"path of /service-a{path}")


@check(
    points=1,
    why="Nobody may take over the gateway's own doors by naming a service after them.",
    after=(FIRST,),
    look="RESERVED: these first segments are never a service, even if the table has one of that name",
    mistake="reserved",
)
def test_reserved_segments_are_never_a_service(student: Student) -> None:
    services = dict.fromkeys(("admin", "health", "docs", "service-a"), "http://127.0.0.1:8001")
    for target in ("/admin/x", "/health", "/docs/", "/admin?x=1"):
        expect(route(student, target, services), None, of=f"route of {target}, with a service of that name")
    expect(found(student, "/service-a/admin/x").path, "/admin/x", of="path of /service-a/admin/x")


@check(
    points=2,
    why="Who resolves `..` after the check walks around it: /service-a/public/../secret is no public path.",
    look="the segments `.` and `..`, each also with dots written as %2e or %2E",
    mistake="dots",
)
def test_dot_segments_are_refused(student: Student) -> None:
    targets = ["/service-a/../admin/x", "/service-a/x/..", "/service-a/./x", "/../service-a/x"]
    targets += ["/service-a/%2e%2e/x", "/service-a/.%2E/x", "/service-a/%2e/x", "/service-a/x/%2E%2e?a=1"]
    for target in targets:
        router = student.new("Router", SERVICES)
        with raises("BadTarget", when=f"{target} is asked for"):
            router.route(target)
    expect(
        found(student, "/service-a/x?next=/../y").query, "next=/../y", of="query of /service-a/x?next=/../y"
    )


@check(
    points=1,
    why="The address is what will be connected to; a path must never change the host.",
    after=("test_the_service_is_asked_without_its_name", "test_the_query_is_kept_as_it_is"),
    look="url: the service's address, then the path, then `?` and the query where there is one",
    mistake="url",
)
def test_the_url_is_put_together(student: Student) -> None:
    wanted = {
        "/service-a/items/1": "http://127.0.0.1:8001/items/1",
        "/service-a": "http://127.0.0.1:8001/",
        "/service-b/ws?color=red&x": "http://127.0.0.1:8002/ws?color=red&x",
        "/service-a//elsewhere.example/x": "http://127.0.0.1:8001//elsewhere.example/x",
        "/service-a/http://elsewhere.example/": "http://127.0.0.1:8001/http://elsewhere.example/",
    }
    for target, url in wanted.items():
        expect(found(student, target).url, url, of=f"url of {target}")
    api = {"orders": "http://10.0.0.7:9000/api/v1"}
    chosen = student.new("Router", api).answering(route=ROUTE).route("/orders/7?x=1")
    expect(chosen.url, "http://10.0.0.7:9000/api/v1/7?x=1", of="url where the address has a path of its own")


@check(
    points=1,
    why="What holds for the examples must hold for any target.",
    hidden=True,
    after=("test_the_query_is_kept_as_it_is",),
    look="targets of every kind",
)
def test_any_target(student: Student) -> None:
    numbers = random.Random(student.seed)
    pieces = [
        "items",
        "1",
        "a%2Fb",
        "",
        "x.y",
        "~",
        "service-b",
        "%41",
        "%C3%84",
        "@",
        ":8001",
        "a..b",
    ]
    for _ in range(200):
        name = numbers.choice([*SERVICES, "other", "Service-a"])
        path = "".join("/" + numbers.choice(pieces) for _ in range(numbers.randint(0, 5)))
        query = numbers.choice(["", "?a=1", "?a=/../x", "?x?y", "?%2e%2e"])
        target = f"/{name}{path}{query}"
        chosen = route(student, target)
        if name not in SERVICES:
            expect(chosen, None, of=f"route of {target}")
            continue
        got = [chosen.service, chosen.path, chosen.query] if chosen else None
        expect(got, [name, path or "/", query[1:]], of=f"service, path and query of {target}")
