"""The checks of exercise 06."""

from __future__ import annotations

import random
from collections import OrderedDict

from lab.exercises.kit import Failure, Student, Thing, check, expect, mismatch, show

PUT = "test_what_was_put_is_found"
DISGUISE = {
    "TtlCache": {"ttl": "span"},
    "get": ("text", "moment"),
    "put": ("text", "text", "moment"),
    "delete": ("text",),
    "cache_key": ("text", "text", "text"),
    "returns": {"get": "text", "cache_key": "text"},
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def cache(student: Student, ttl: float = 30.0, max_entries: int = 100) -> Thing:
    made = student.new("TtlCache", ttl=ttl, max_entries=max_entries)
    return made.answering(get=str | None, put=None, delete=None, clear=None)


@check(
    points=2,
    why="A cache that does not give back what it was given is none.",
    look="what `put` writes down and what `get` returns: the entry itself, or None",
)
def test_what_was_put_is_found(student: Student) -> None:
    table = cache(student)
    expect(table.get(b"/a", 0.0), None, of="get for a key that was never put")
    table.put(b"/a", "answer a", 0.0)
    table.put(b"/b", "answer b", 1.0)
    expect(table.get(b"/a", 2.0), "answer a", of="get two seconds after put")
    expect(table.get(b"/b", 2.0), "answer b", of="get for another key")
    expect(table.get(b"/a", 2.0), "answer a", of="get once more")


@check(
    points=2,
    why="What was true half a minute ago may be false by now; `ttl` says how long to bear that.",
    after=(PUT,),
    look="the first moment at which an entry is too old: `ttl` seconds after it was put there",
    mistake="expiry",
)
def test_an_entry_lives_for_ttl_seconds(student: Student) -> None:
    table = cache(student, ttl=30.0)
    for key in (b"/a", b"/b", b"/c"):
        table.put(key, "answer", 100.0)
    expect(table.get(b"/a", 129.75), "answer", of="get after 29.75 of 30 seconds")
    expect(table.get(b"/b", 130.0), None, of="get after 30 seconds")
    expect(table.get(b"/c", 500.0), None, of="get much later")
    short = cache(student, ttl=0.5)
    short.put(b"/a", "answer", 100.0)
    short.put(b"/b", "answer", 100.0)
    expect(short.get(b"/a", 100.25), "answer", of="get after 0.25 of 0.5 seconds")
    expect(short.get(b"/b", 100.5), None, of="get after 0.5 seconds")


@check(
    points=1,
    why="A popular entry that is never asked for anew stays wrong for ever.",
    after=("test_an_entry_lives_for_ttl_seconds",),
    look="what `get` changes: the order of use, not the entry's age",
    mistake="get-renews",
)
def test_asking_does_not_keep_an_entry_alive(student: Student) -> None:
    table = cache(student, ttl=30.0)
    table.put(b"/a", "answer", 100.0)
    for now in (110.0, 120.0, 129.0):
        table.get(b"/a", now)
    expect(table.get(b"/a", 130.0), None, of="get 30 seconds after put, in spite of having been asked for")


@check(
    points=1,
    why="A new answer is good for as long as the first one was.",
    after=("test_an_entry_lives_for_ttl_seconds",),
    look="what `put` does where the key is there already: a new entry, and a new age",
    mistake="put-again",
)
def test_putting_again_starts_anew(student: Student) -> None:
    table = cache(student, ttl=30.0)
    table.put(b"/a", "old", 100.0)
    table.put(b"/a", "new", 120.0)
    expect(table.get(b"/a", 121.0), "new", of="get after a second put")
    expect(table.get(b"/a", 149.0), "new", of="get 29 seconds after the second put")
    expect(table.get(b"/a", 150.0), None, of="get 30 seconds after the second put")


@check(
    points=2,
    why="Whoever can invent paths can fill a table that has no bound.",
    after=(PUT,),
    look="how many entries there can be after `put`; a key that is there already takes no further place",
    mistake="unbounded",
)
def test_there_are_never_too_many_entries(student: Student) -> None:
    table = cache(student, max_entries=3)
    for number in range(10):
        table.put(b"/%d" % number, f"answer {number}", 0.0)
    found = [number for number in range(10) if table.get(b"/%d" % number, 1.0) is not None]
    expect(len(found), 3, of="how many of ten are still there, with max_entries=3")
    again = cache(student, max_entries=2)
    again.put(b"/a", "a", 0.0)
    for _ in range(5):
        again.put(b"/b", "b", 0.0)
    expect(
        again.get(b"/a", 1.0),
        "a",
        of="get for the other key, after one was put five times, with max_entries=2",
    )


@check(
    points=2,
    why="What was asked for lately is likely to be asked for again.",
    after=("test_there_are_never_too_many_entries",),
    look="which entry goes: the one whose last `get` or `put` is longest ago",
    mistake="eviction",
)
def test_the_one_not_used_for_longest_makes_room(student: Student) -> None:
    table = cache(student, max_entries=3)
    for key in (b"/a", b"/b", b"/c"):
        table.put(key, key.decode(), 0.0)
    table.get(b"/a", 1.0)
    table.put(b"/d", "/d", 2.0)
    expect(table.get(b"/b", 3.0), None, of="get for /b, which was not used for longest")
    expect(table.get(b"/a", 3.0), "/a", of="get for /a, which was asked for")
    table.put(b"/c", "/c again", 4.0)
    table.put(b"/e", "/e", 5.0)
    expect(table.get(b"/d", 6.0), None, of="get for /d, when /a was asked for and /c put again since")
    expect(table.get(b"/c", 6.0), "/c again", of="get for /c")


@check(
    points=1,
    why="Whoever changes something at the service wants the old answer gone.",
    after=(PUT,),
    look="`delete` and `clear`, also for a key that is not there",
    mistake="delete",
)
def test_entries_can_be_forgotten(student: Student) -> None:
    table = cache(student)
    table.delete(b"/never-seen")
    for key in (b"/a", b"/b", b"/c"):
        table.put(key, "answer", 0.0)
    table.delete(b"/a")
    expect(table.get(b"/a", 1.0), None, of="get after delete")
    expect(table.get(b"/b", 1.0), "answer", of="get for another key")
    table.clear()
    expect([table.get(key, 1.0) for key in (b"/b", b"/c")], [None, None], of="get after clear")
    table.put(b"/a", "new", 2.0)
    expect(table.get(b"/a", 3.0), "new", of="get for what was put after clear")


@check(
    points=1,
    why="A `ttl` of 0 is how an operator says: do not keep anything.",
    after=(PUT,),
    look="what `put` does with a `ttl` of 0",
    mistake="ttl-zero",
)
def test_a_ttl_of_zero_keeps_nothing(student: Student) -> None:
    table = cache(student, ttl=0.0)
    table.put(b"/a", "answer", 100.0)
    expect(table.get(b"/a", 100.0), None, of="get at the very moment of put")


def key(student: Student, service: str, path: str, query: str) -> str:
    made = student.call("cache_key", service, path, query)
    if reason := mismatch(made, str):
        raise Failure("cache_key returns text", reason)
    return str(made)


@check(
    points=2,
    why="Two requests with one key get one answer, so they had better ask for the same thing.",
    look="what must be part of the key: everything by which the service may tell two requests apart",
    mistake="key-too-small",
)
def test_different_resources_have_different_keys(student: Student) -> None:
    requests = [
        ("service-a", "/items/1", ""),
        ("service-a", "/items/2", ""),
        ("service-b", "/items/1", ""),
        ("service-a", "/items/1", "color=red"),
        ("service-a", "/items/1", "color=RED"),
        ("service-a", "/items/1", "a=1&b=2"),
        ("service-a", "/items/1", "b=2&a=1"),
        ("service-a", "/items/1/", ""),
        ("service-a", "/items//1", ""),
        ("service-a", "/Items/1", ""),
        ("service-a", "/items%2F1", ""),
        ("a", "/b/c", ""),
        ("a", "/b", "/c"),
        ("service", "/-a/items/1", ""),
    ]
    seen: dict[str, tuple[str, str, str]] = {}
    for request in requests:
        made = key(student, *request)
        if made in seen:
            raise Failure(
                "two keys that differ",
                f"{show(made, 60)} for both",
                sent=f"cache_key{seen[made]}\ncache_key{request}",
            )
        seen[made] = request


@check(
    points=1,
    why="A key that differs each time is a cache that never hits.",
    after=("test_different_resources_have_different_keys",),
    look="what must not be part of the key: anything that differs between two equal requests",
    mistake="key-too-large",
)
def test_equal_requests_have_equal_keys(student: Student) -> None:
    made = [key(student, "service-a", "/items/1", "color=red") for _ in range(3)]
    expect(made[1:], made[:1] * 2, of="the keys of three equal requests")


def allowed(
    student: Student,
    wanted: bool,
    method: str = "GET",
    status: int = 200,
    request: dict[str, str] | None = None,
    response: dict[str, str] | None = None,
) -> None:
    # A field of which nobody knows what it means changes nothing.
    trace = student.pick(0, range(1, 1_000_000))
    request = (request or {}) | ({"x-trace": str(trace)} if trace else {})
    response = response or {}
    got = student.call("may_store", method, status, request, response)
    if reason := mismatch(got, bool):
        raise Failure("may_store returns True or False", reason)
    what = f"{method} → {status}, request {show(request)}, response {show(response)}"
    expect(got, wanted, of="may_store", sent=what)


@check(
    points=1,
    why="An error that is kept outlives its cause, and a POST must happen each time.",
    look="which methods and statuses may be kept at all",
    mistake="method-status",
)
def test_only_good_answers_to_get_are_stored(student: Student) -> None:
    allowed(student, True)
    allowed(student, True, request={"accept": "*/*"}, response={"content-type": "application/json"})
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD"):
        allowed(student, False, method=method)
    for status in (201, 204, 206, 301, 304, 404, 429, 500, 503):
        allowed(student, False, status=status)


@check(
    points=1,
    why="The service knows best: where it says no, it means it (RFC 9111 §5.2.2).",
    after=("test_only_good_answers_to_get_are_stored",),
    look="Cache-Control: a list, separated by commas, in upper or lower case, some entries with a value",
    mistake="cache-control",
)
def test_the_services_word_counts(student: Student) -> None:
    for said in ("no-store", "private", "no-cache", "No-Store", "max-age=60, private", "max-age=0,no-store"):
        allowed(student, False, response={"cache-control": said})
    allowed(student, False, response={"cache-control": 'private="x-user"'})
    for said in ("max-age=60", "public", "public, max-age=60", "no-transform"):
        allowed(student, True, response={"cache-control": said})


@check(
    points=2,
    why="What was made for one person must not be shown to the next (RFC 9111 §3.5).",
    after=("test_only_good_answers_to_get_are_stored",),
    look="what tells that an answer is not for all: in the request, and in the answer (`set-cookie`, `vary`)",
    mistake="personal",
)
def test_what_is_for_one_client_is_not_stored(student: Student) -> None:
    for name in ("authorization", "cookie", "x-api-key"):
        allowed(student, False, request={"accept": "*/*", name: "something"})
    allowed(student, False, response={"set-cookie": "session=1"})
    allowed(student, False, response={"vary": "accept-language", "cache-control": "max-age=60"})


@check(
    points=1,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_the_one_not_used_for_longest_makes_room",),
    look="any sequence of get, put and delete",
)
def test_any_traffic(student: Student) -> None:
    for seed in range(4):
        traffic(student, student.seed + seed)


def traffic(student: Student, seed: int) -> None:
    """Some hundred calls, held against a table whose expired entries are looked for by brute force."""
    numbers = random.Random(seed)
    ttl, room = numbers.randint(1, 40) / 4, numbers.randint(1, 5)
    table = cache(student, ttl=ttl, max_entries=room)
    known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
    now = 1000.0
    for step in range(300):
        now += numbers.choice([0.0, 0.25, 0.5, ttl / 2])
        key = b"/%d" % numbers.randrange(7)
        action = numbers.random()
        if action < 0.4:
            if len(known) >= room and any(now - put_at >= ttl for put_at, _ in known.values()):
                table.clear()  # whether expired entries still take room is the submission's business
                known.clear()
            table.put(key, f"answer {step}", now)
            known[key] = now, f"answer {step}"
            known.move_to_end(key)
            if len(known) > room:
                known.popitem(last=False)
        elif action < 0.45:
            table.delete(key)
            known.pop(key, None)
        else:
            wanted = None
            if key in known and now - known[key][0] < ttl:
                wanted = known[key][1]
                known.move_to_end(key)
            else:
                known.pop(key, None)
            expect(table.get(key, now), wanted, of=f"get {key.decode()} at {now}")
