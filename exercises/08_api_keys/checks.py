"""The checks of exercise 08."""

from __future__ import annotations

import random
from typing import Any

from lab.exercises.kit import Answer, Request, Student, Thing, check, expect, expect_that

ADA = {"name": "ada", "key": "ada-6f1c-secret", "allow": ["* /**"]}
GRACE = {"name": "grace", "key": "grace-77-secret", "allow": ["GET /service-a/**", "POST /service-a/items"]}
EDSGER = {"name": "edsger", "key": "edsger-x-secret", "allow": ["* /**"], "active": False}
NOBODY = {"name": "nobody", "key": "nobody-0-secret", "allow": []}
SECRETS = [key["key"] for key in (ADA, GRACE, EDSGER, NOBODY)]
REST = [["host", "localhost"], ["accept", "*/*"], ["accept", "text/html"]]
DISGUISE = {
    "matches": ("text", "text"),
    "words": (
        *("service", "items", "health", "healthy", "anything", "ada", "ADA", "grace", "edsger", "nobody"),
        *("secret", "SECRET", "secre", "secretx", "wrong"),
    ),
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


class Service:
    """What stands behind the stage; notes what reaches it."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def call_next(self, request: Request) -> Answer:
        self.asked.append(request)
        return Answer(200, [["content-type", "text/plain"]], b"hello")


def stage(student: Student, *public: str) -> Thing:
    keys = [ADA, GRACE, EDSGER, NOBODY]
    return student.new("Authentication", keys=keys, public=list(public)).answering(__call__=Answer)


async def send(
    some: Thing, *keys: str, method: str = "GET", path: str = "/service-a/items/1", kind: str = "http"
) -> tuple[Answer, list[Request]]:
    """The answer, and what reached the service."""
    service = Service()
    headers = [*REST[:1], *(["x-api-key", key] for key in keys), *REST[1:]]
    answer = await some.start("__call__", Request(method, path, "", headers, kind=kind), service.call_next)
    return answer, service.asked


def told(*keys: str, method: str = "GET", path: str = "/service-a/items/1") -> str:
    """The request, for a message."""
    return "\n".join(
        [f"{method} {path}", *(f"X-API-Key: {key}" for key in keys)] + ([] if keys else ["(no key)"])
    )


async def refused(some: Thing, status: int, *keys: str, **request: Any) -> Answer:
    answer, asked = await send(some, *keys, **request)
    sent = told(*keys, **{k: v for k, v in request.items() if k != "kind"})
    expect(answer.status, status, of="the status", sent=sent)
    expect(len(asked), 0, of="requests that reached the service", sent=sent)
    for secret in SECRETS:
        where = [answer.body.decode("latin-1"), *(value for _, value in answer.headers)]
        expect_that(
            not any(secret in text for text in where),
            "an answer without anybody's key",
            f"one with {secret!r} in it",
            sent=sent,
            look="the text of the error: it ends up in logs and screenshots",
            mistake="leak",
        )
    return answer


async def passed(some: Thing, *keys: str, **request: Any) -> Request:
    answer, asked = await send(some, *keys, **request)
    sent = told(*keys, **{k: v for k, v in request.items() if k != "kind"})
    expect(answer.status, 200, of="the status", sent=sent)
    expect(answer.body, b"hello", of="the body, which the service made", sent=sent)
    expect(len(asked), 1, of="requests that reached the service", sent=sent)
    return asked[0]


def expect_matches(student: Student, cases: list[tuple[str, str, bool]], mistake: str = "") -> None:
    for glob, path, wanted in cases:
        got = student.call("matches", glob, path)
        expect(
            got,
            wanted,
            of=f"matches({glob!r}, {path!r})",
            sent=f"matches({glob!r}, {path!r})",
            mistake=mistake,
        )


@check(
    points=2,
    why="Most rules name one path.",
    look="`matches` for a glob without a star: the whole path, and nothing else",
    mistake="whole-path",
)
def test_a_glob_without_a_star_means_one_path(student: Student) -> None:
    expect_matches(
        student,
        [
            ("/a/b", "/a/b", True),
            ("/a/b", "/a/c", False),
            ("/a/b", "/a/b/c", False),
            ("/a/b", "/a", False),
            ("/a/b", "/x/a/b", False),
            ("/a/b", "/a/B", False),
            ("/a/b", "/a/b/", False),
        ],
    )


@check(
    points=2,
    why="A rule for one item must not become a rule for all that lies below it.",
    after=("test_a_glob_without_a_star_means_one_path",),
    look="what `*` stands for: characters that are no slash, none too",
    mistake="star",
)
def test_a_star_stays_within_its_segment(student: Student) -> None:
    expect_matches(
        student,
        [
            ("/items/*", "/items/5", True),
            ("/items/*", "/items/", True),
            ("/items/*", "/items", False),
            ("/items/*", "/items/5/tags", False),
            ("/items/*/tags", "/items/5/tags", True),
            ("/items/*/tags", "/items/5/6/tags", False),
            ("/v*/items", "/v2/items", True),
            ("/v*/items", "/v/items", True),
            ("/v*/items", "/w2/items", False),
            ("/*/*", "/a/b", True),
            ("/*/*", "/a", False),
        ],
    )


@check(
    points=2,
    why="`/a/**` is how a whole service is given away; and nothing beside it.",
    after=("test_a_glob_without_a_star_means_one_path",),
    look="`/a/**`: `/a` itself, `/a/` and everything below, but not `/ab`",
    mistake="tree",
)
def test_two_stars_at_the_end_mean_the_whole_tree(student: Student) -> None:
    expect_matches(
        student,
        [
            ("/a/**", "/a/b", True),
            ("/a/**", "/a/b/c/d", True),
            ("/a/**", "/a", True),
            ("/a/**", "/a/", True),
            ("/a/**", "/ab", False),
            ("/a/**", "/x/a/b", False),
            ("/**", "/anything/at/all", True),
            ("/**", "/", True),
            ("/v*/items/**", "/v2/items/5", True),
            ("/v*/items/**", "/v2/x/items/5", False),
        ],
    )


@check(
    points=1,
    why="A dot in a rule is a dot; if it were more, more would be allowed than was written.",
    after=("test_a_star_stays_within_its_segment",),
    look="characters that mean something to `re` or `fnmatch`: `re.escape`",
    mistake="special",
)
def test_all_other_characters_mean_themselves(student: Student) -> None:
    expect_matches(
        student,
        [
            ("/a.b", "/a.b", True),
            ("/a.b", "/axb", False),
            ("/a+b/*", "/a+b/c", True),
            ("/[ab]", "/a", False),
            ("/[ab]", "/[ab]", True),
            ("/a?", "/ab", False),
            ("/(x)|/y", "/y", False),
        ],
    )


@check(
    points=3,
    why="Who does not say who they are gets nothing.",
    look="no X-API-Key, or one that nobody has: 401, and `call_next` is not called",
    mistake="no-key",
)
async def test_without_a_valid_key_it_is_401(student: Student) -> None:
    some = stage(student)
    await refused(some, 401)
    for wrong in ("wrong", "", "ada-6f1c-secre", "ada-6f1c-secretx", "ADA-6F1C-SECRET", "ada"):
        await refused(some, 401, wrong)


@check(
    points=2,
    why="With the right key all of it works.",
    look="a key whose `allow` is `* /**`",
)
async def test_with_a_valid_key_it_goes_on(student: Student) -> None:
    some = stage(student)
    await passed(some, ADA["key"])
    await passed(some, ADA["key"], method="DELETE", path="/service-b/anything/at/all")
    await passed(some, GRACE["key"])


@check(
    points=1,
    why="A 401 must say how to do better; without this field it is not a 401 (RFC 9110 §11.6.1).",
    after=("test_without_a_valid_key_it_is_401",),
    look="the response field WWW-Authenticate; and that all refusals look the same",
    mistake="challenge",
)
async def test_a_401_says_what_is_needed_and_not_what_was_wrong(student: Student) -> None:
    some = stage(student)
    answers = [await refused(some, 401, *keys) for keys in ((), ("wrong",), ("ada",))]
    for answer in answers:
        expect_that(bool(answer.header("www-authenticate")), "a field WWW-Authenticate", "none")
    expect(
        [answer.body for answer in answers],
        [answers[0].body] * 3,
        of="the bodies for no key, an unknown one and another unknown one",
        mistake="tells-which",
    )


@check(
    points=3,
    why="To know somebody is not to let them do everything.",
    after=("test_without_a_valid_key_it_is_401", "test_with_a_valid_key_it_goes_on"),
    look="the entries in `allow`: one of them must fit in method and in path",
    mistake="allow",
)
async def test_a_key_that_does_not_allow_it_is_403(student: Student) -> None:
    some, key = stage(student), GRACE["key"]
    await passed(some, key, path="/service-a/items/5/tags")
    await passed(some, key, path="/service-a/items", method="POST")
    await refused(some, 403, key, path="/service-b/items")
    await refused(some, 403, key, path="/service-a/items/5", method="DELETE")
    await refused(some, 403, key, path="/service-a/items/5", method="POST")
    await refused(some, 403, key, path="/service-b/ws", kind="websocket")
    await refused(some, 403, NOBODY["key"])


@check(
    points=1,
    why="HEAD asks for a part of what GET gives; who may read may ask how much (RFC 9110 §9.3.2).",
    after=("test_a_key_that_does_not_allow_it_is_403",),
    look="HEAD, where an entry allows GET",
    mistake="head",
)
async def test_head_is_allowed_where_get_is(student: Student) -> None:
    some = stage(student)
    await passed(some, GRACE["key"], method="HEAD")
    await refused(some, 403, GRACE["key"], method="HEAD", path="/service-b/items")
    await refused(some, 403, GRACE["key"], method="OPTIONS")


@check(
    points=2,
    why="A key that has leaked is switched off, now, and not deleted from every file first.",
    after=("test_without_a_valid_key_it_is_401", "test_with_a_valid_key_it_goes_on"),
    look='`"active": False`: the key counts as unknown',
    mistake="inactive",
)
async def test_a_key_that_is_switched_off_is_unknown(student: Student) -> None:
    some = stage(student, "/open")
    answer = await refused(some, 401, EDSGER["key"])
    expect(
        answer.body, (await refused(some, 401, "wrong")).body, of="the body, the same as for an unknown key"
    )
    request = await passed(some, EDSGER["key"], path="/open")
    expect(request.identity, None, of="identity, with a key that is switched off")
    on = student.new("Authentication", keys=[EDSGER | {"active": True}], public=[]).answering(__call__=Answer)
    await passed(on, EDSGER["key"])


@check(
    points=2,
    why="The limiter counts by this name, and the log shows it.",
    after=("test_with_a_valid_key_it_goes_on",),
    look="`exchange.identity`: the key's name, before `call_next` is called",
    mistake="identity",
)
async def test_the_stages_further_in_learn_who_it_is(student: Student) -> None:
    some = stage(student)
    expect((await passed(some, ADA["key"])).identity, "ada", of="identity, with ada's key")
    expect((await passed(some, GRACE["key"])).identity, "grace", of="identity, with grace's key")


@check(
    points=2,
    why="A service that gets every client's key can be every client.",
    after=("test_with_a_valid_key_it_goes_on",),
    look="`exchange.headers` as `call_next` gets it: without X-API-Key, all others as they were",
    mistake="passed-on",
)
async def test_the_key_goes_no_further(student: Student) -> None:
    some = stage(student, "/open/**")
    expect((await passed(some, ADA["key"])).headers, REST, of="the fields that reach the service")
    open_ = await passed(some, "wrong", path="/open/1")
    expect(open_.headers, REST, of="the fields that reach the service, on a public path")


@check(
    points=2,
    why="A health check has no key; and who shows one there is still known.",
    after=("test_without_a_valid_key_it_is_401", "test_with_a_valid_key_it_goes_on"),
    look="the globs in `public`: nobody is refused there, and a valid key still tells who asks",
    mistake="public",
)
async def test_public_paths_need_no_key(student: Student) -> None:
    some = stage(student, "/health/**", "/service-a/open/*")
    for path in ("/health", "/health/ready", "/service-a/open/1"):
        expect((await passed(some, path=path)).identity, None, of="identity, without a key")
    await passed(some, "wrong", path="/health")
    await passed(some, NOBODY["key"], path="/health", method="POST")
    expect((await passed(some, ADA["key"], path="/health")).identity, "ada", of="identity, on a public path")
    await refused(some, 401, path="/healthy")
    await refused(some, 401, path="/service-a/open/1/2")


@check(
    points=2,
    why="Of two keys one reader takes the first and another the last; so neither counts.",
    after=("test_without_a_valid_key_it_is_401", "test_with_a_valid_key_it_goes_on"),
    look="a request with the field X-API-Key twice: 401",
    mistake="two-keys",
)
async def test_two_keys_are_none(student: Student) -> None:
    some = stage(student)
    await refused(some, 401, "wrong", ADA["key"])
    await refused(some, 401, ADA["key"], "wrong")
    await refused(some, 401, ADA["key"], ADA["key"])


@check(
    points=2,
    why="A field's value is bytes, and whoever sends it chooses them; a 500 is not an answer.",
    after=("test_without_a_valid_key_it_is_401",),
    look="a key that is no ASCII and no UTF-8: where do you decode, what can `compare_digest` take?",
    mistake="bytes",
)
async def test_any_bytes_in_a_key_are_only_a_wrong_key(student: Student) -> None:
    some = stage(student)
    for wrong in ("schl\xfcssel", "\xff\xfe", "\xc3\xbc", "*", "a" * 5000):
        await refused(some, 401, wrong)


@check(
    points=2,
    why="What holds for the examples must hold for any rule.",
    hidden=True,
    after=("test_two_stars_at_the_end_mean_the_whole_tree", "test_a_star_stays_within_its_segment"),
    look="globs with several stars, and paths with empty segments",
)
def test_any_glob(student: Student) -> None:
    numbers = random.Random(student.seed)
    for _ in range(300):
        glob = "".join(
            "/" + numbers.choice(["a", "b", "*", "a*", "*b", "a*b", ""]) for _ in range(numbers.randint(1, 3))
        )
        glob += numbers.choice(["", "/**"])
        path = "".join(
            "/" + numbers.choice(["a", "b", "ab", "aab", ""]) for _ in range(numbers.randint(1, 4))
        )
        expect_matches(student, [(glob, path, model(glob, path))])


def model(glob: str, path: str) -> bool:
    """The same, segment by segment."""
    wanted, given = glob.split("/"), path.split("/")
    if wanted[-1] == "**":
        wanted.pop()
        given = given[: len(wanted)]
    return len(given) == len(wanted) and all(segment(w, g) for w, g in zip(wanted, given, strict=True))


def segment(wanted: str, given: str) -> bool:
    first, star, last = wanted.partition("*")
    if not star:
        return wanted == given
    return given.startswith(first) and given.endswith(last) and len(given) >= len(first) + len(last)
