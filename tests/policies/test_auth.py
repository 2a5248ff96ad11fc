from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from lab.model import Exchange, Response
from lab.policies import Context
from lab.policies.auth import Authentication
from lab.settings import AuthSettings, ConfigError, KeySettings

SECRET = "correct-horse-battery-staple"


class Service:
    """A `call_next` that notes who got through."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def __call__(self, exchange: Exchange) -> Response:
        self.seen.append(exchange.identity)
        return Response(200)


def stage(*keys: KeySettings, public: list[str] | None = None) -> Authentication:
    options = AuthSettings(enabled=True, keys=list(keys), public=public or [])
    return Authentication(options, Context())


def ask(path: str = "/service-a/items/5", *shown: str, method: str = "GET", **more: Any) -> Exchange:
    headers = [(b"host", b"gateway"), *((b"x-api-key", key.encode()) for key in shown)]
    return Exchange(method, path.encode(), headers=headers, service="service-a", **more)


def key(name: str = "demo", key: str = SECRET, **more: Any) -> KeySettings:
    return KeySettings(name=name, key=key, **more)


async def test_a_valid_key_passes_and_names_the_client() -> None:
    service = Service()
    assert (await stage(key())(ask("/service-a/x", SECRET), service)).status == 200
    assert service.seen == ["demo"]


@pytest.mark.parametrize(
    "shown",
    [
        (),
        ("wrong",),
        ("",),
        (SECRET[:-1],),
        (SECRET + "x",),
        (SECRET.upper(),),
        (SECRET, SECRET),
        (SECRET, "x"),
    ],
)
async def test_missing_unknown_and_repeated_keys_are_unauthorized(shown: tuple[str, ...]) -> None:
    service, auth = Service(), stage(key())
    exchange = ask("/service-a/x", *shown)
    response = await auth(exchange, service)
    assert response.status == 401
    assert response.header(b"www-authenticate") == b'ApiKey realm="gateway-lab"'
    assert json.loads(response.content)["service"] == "service-a"
    assert service.seen == []
    assert exchange.identity is None
    assert auth.snapshot()["unauthorized"] == 1


async def test_the_challenge_is_not_altered_by_use() -> None:
    auth = stage(key())
    first = await auth(ask(), Service())
    first.headers.append((b"x-request-id", b"1"))
    second = await auth(ask(), Service())
    assert [name for name, _ in second.headers].count(b"x-request-id") == 0


async def test_several_keys_of_one_name_serve_a_rotation() -> None:
    service = Service()
    auth = stage(key(key="old"), key(key="new"), key(name="other", key="third"))
    for shown in ("old", "new", "third"):
        await auth(ask("/service-a/x", shown), service)
    assert service.seen == ["demo", "demo", "other"]


async def test_a_key_that_is_switched_off_is_as_good_as_none() -> None:
    auth = stage(key(active=False), public=["/service-a/open"])
    assert (await auth(ask("/service-a/x", SECRET), Service())).status == 401
    service = Service()
    assert (await auth(ask("/service-a/open", SECRET), service)).status == 200
    assert service.seen == [None]


async def test_a_key_may_be_stored_as_its_digest() -> None:
    digest = sha256(SECRET.encode()).hexdigest()
    for stored in (f"sha256:{digest}", f"sha256:{digest.upper()}"):
        auth = stage(key(key=stored))
        assert (await auth(ask("/service-a/x", SECRET), Service())).status == 200
        # Whoever reads the file has the digest, and must not get in with it.
        assert (await auth(ask("/service-a/x", stored), Service())).status == 401
        assert (await auth(ask("/service-a/x", digest), Service())).status == 401


@pytest.mark.parametrize(
    "stored", ["sha256:", "sha256:beef", "sha256:" + "x" * 64, "sha256:" + "0" * 64 + "\n"]
)
def test_a_malformed_digest_is_named_but_not_shown(stored: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stage(key(name="a", key="k"), key(key=stored))
    assert str(caught.value) == "auth.keys[1].key: 64 hex digits were expected after 'sha256:'"


def test_two_entries_with_the_same_key_are_a_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        stage(key(name="a"), key(name="b", key="sha256:" + sha256(SECRET.encode()).hexdigest()))
    assert str(caught.value) == "auth.keys[1].key: 'b' has the same key as 'a'"


@pytest.mark.parametrize(
    ("allow", "method", "path", "status"),
    [
        (["* /**"], "DELETE", "/service-b/x", 200),
        (["GET /service-a/**"], "GET", "/service-a/items/5", 200),
        (["GET /service-a/**"], "HEAD", "/service-a/items/5", 200),
        (["GET /service-a/**"], "POST", "/service-a/items", 403),
        (["GET /service-a/**"], "GET", "/service-b/items", 403),
        (["HEAD /service-a/**"], "GET", "/service-a/items", 403),
        (["HEAD /service-a/**"], "HEAD", "/service-a/items", 200),
        (["GET /service-a/items/*", "POST /service-a/items"], "POST", "/service-a/items", 200),
        (["GET /service-a/items/*", "POST /service-a/items"], "GET", "/service-a/items/5/tags", 403),
        (["GET /service-a/users", "GET /service-a/items/*"], "GET", "/service-a/items/5", 200),
        (["* /service-a/users", "GET /service-a/items"], "GET", "/service-a/users", 200),
        ([], "GET", "/service-a/items", 403),
    ],
)
async def test_a_known_key_may_do_what_its_entries_allow(
    allow: list[str], method: str, path: str, status: int
) -> None:
    service, auth = Service(), stage(key(allow=allow))
    response = await auth(ask(path, SECRET, method=method), service)
    assert response.status == status
    assert len(service.seen) == (status == 200)
    assert auth.snapshot()["forbidden"] == (status == 403)
    assert auth.snapshot()["unauthorized"] == 0


async def test_a_public_path_needs_no_key_and_a_valid_one_still_tells_who_asks() -> None:
    service = Service()
    auth = stage(key(allow=[]), public=["/nothing", "/service-a/open/**"])
    for shown in ((), (SECRET,), ("wrong",), (SECRET, SECRET)):
        assert (await auth(ask("/service-a/open/x", *shown), service)).status == 200
    assert service.seen == [None, "demo", None, None]
    assert (await auth(ask("/service-a/other"), service)).status == 401


async def test_a_websocket_handshake_is_a_get() -> None:
    auth = stage(key(allow=["GET /service-b/**"]))
    assert (await auth(ask("/service-b/ws", SECRET, kind="websocket"), Service())).status == 200
    assert (await auth(ask("/service-b/ws", kind="websocket"), Service())).status == 401


async def test_no_key_is_ever_shown() -> None:
    auth = stage(key(), public=["/open"])
    refused = await stage(key(allow=[]))(ask("/service-a/x", SECRET), Service())
    unknown = await auth(ask("/service-a/x", "wrong-but-secret"), Service())
    digest = sha256(SECRET.encode())
    shown = "".join([repr(auth), repr(vars(auth)), json.dumps(auth.snapshot())])
    shown += refused.content.decode() + unknown.content.decode() + repr(refused.headers + unknown.headers)
    for secret in (SECRET, "wrong-but-secret", digest.hexdigest()):
        assert secret not in shown
    assert digest.hexdigest() not in json.dumps(auth.snapshot())


async def test_the_snapshot_counts_each_key_and_a_successor_goes_on() -> None:
    auth = stage(key(), key(name="other", key="other", allow=[], active=True))
    await auth(ask("/service-a/x", SECRET), Service())
    await auth(ask("/service-a/x", SECRET), Service())
    await auth(ask("/service-a/x", "other"), Service())
    await auth(ask("/service-a/x"), Service())
    successor = stage(key(allow=["GET /service-a/**"]), key(name="new", key="new"))
    successor.adopt(auth)
    assert successor.snapshot() == {
        "unauthorized": 1,
        "forbidden": 1,
        "public": [],
        "keys": [
            {"name": "demo", "active": True, "allow": ["GET /service-a/**"], "used": 2},
            {"name": "new", "active": True, "allow": ["* /**"], "used": 0},
        ],
    }
