import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import httpx
import pytest

import service_a

ROOT = Path(__file__).parents[1]


@pytest.fixture
async def client():
    service_a.reset()
    transport = httpx.ASGITransport(service_a.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service-a") as client:
        yield client
    service_a.reset()


# -- data ----------------------------------------------------------------------------------------------------


async def test_an_item_does_not_depend_on_what_was_asked_before(client):
    first = (await client.get("/items/1")).json()
    others = [(await client.get(f"/items/{n}")).json() for n in (2, 3, -1, 0)]
    await client.get("/users")
    assert (await client.get("/items/1")).json() == first
    assert first["id"] == 1
    assert len({item["name"] for item in [first, *others]}) == 5


async def test_the_items_are_the_same_in_every_process(client):
    script = "import service_a; print(service_a.invent_item(7).model_dump_json())"
    other = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert (await client.get("/items/7")).text == other.stdout.strip()


@pytest.mark.parametrize("wrong", ["x", "1.5", "1e3", "true", "%20"])
async def test_an_id_that_is_no_int_is_422(client, wrong):
    assert (await client.get(f"/items/{wrong}")).status_code == 422


async def test_an_int_out_of_range_is_404(client):
    for item_id in (service_a.INVENTED, -service_a.INVENTED):
        assert (await client.get(f"/items/{item_id}")).status_code == 200
    for item_id in (service_a.INVENTED + 1, 10**30):
        assert (await client.get(f"/items/{item_id}")).status_code == 404


async def test_a_posted_item_can_be_fetched(client):
    response = await client.post("/items", json={"name": "Lamp", "price": 9.5, "colour": "red"})
    assert response.status_code == 201
    item = response.json()
    assert item == {"id": item["id"], "name": "Lamp", "price": 9.5, "description": "", "colour": "red"}
    assert response.headers["Location"] == f"/items/{item['id']}"
    assert (await client.get(response.headers["Location"])).json() == item


async def test_a_posted_item_gets_an_id_of_its_own(client):
    ids = [(await client.post("/items", json={"name": "x", "id": 1})).json()["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert min(ids) > service_a.INVENTED


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": ""}, {"name": "x", "price": -1}, {"name": "x", "more": "y" * service_a.MAX_ITEM}, []],
)
async def test_what_is_no_item_is_422(client, wrong):
    assert (await client.post("/items", json=wrong)).status_code == 422
    assert not service_a.stored


async def test_the_store_is_bounded_and_the_oldest_goes_first(client, monkeypatch):
    monkeypatch.setattr(service_a, "MAX_STORED", 3)
    paths = [(await client.post("/items", json={"name": "x"})).headers["Location"] for _ in range(4)]
    assert len(service_a.stored) == 3
    assert [(await client.get(path)).status_code for path in paths] == [404, 200, 200, 200]


async def test_users_are_a_list_that_can_be_shortened(client):
    users = (await client.get("/users")).json()
    assert [user["id"] for user in users] == list(range(1, 11))
    assert (await client.get("/users?limit=3")).json() == users[:3]
    assert (await client.get("/users?limit=0")).status_code == 422


# -- what it shows -------------------------------------------------------------------------------------------


async def test_requests_are_counted_by_path(client):
    await client.get("/items/1")
    await client.get("/items/1")
    await client.get("/items/x")
    await client.get("/health")
    stats = (await client.get("/stats")).json()
    assert stats == {"total": 3, "paths": {"/items/1": 2, "/items/x": 1}}


async def test_the_counted_paths_are_bounded(client, monkeypatch):
    monkeypatch.setattr(service_a, "MAX_PATHS", 2)
    for path in ("/items/1", "/items/2", "/items/3", "/items/2"):
        await client.get(path)
    assert (await client.get("/stats")).json() == {"total": 4, "paths": {"/items/1": 1, "/items/2": 2}}


async def test_headers_come_back_as_they_arrived(client):
    response = await client.get("/headers", headers=[("X-Two", "a"), ("X-Two", "b"), ("X-Umlaut", b"\xe4")])
    found = [tuple(pair) for pair in response.json()]
    assert [pair for pair in found if pair[0] == "x-two"] == [("x-two", "a"), ("x-two", "b")]
    assert ("x-umlaut", "ä") in found


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_status_on_request(client, method):
    for code in (200, 204, 304, 404, 503, 599):
        assert (await client.request(method, f"/status/{code}")).status_code == code
    assert (await client.request(method, "/status/101")).status_code == 422


async def test_a_slow_answer_waits(client, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(service_a.asyncio, "sleep", sleep)
    assert (await client.get("/slow?seconds=2.5")).json() == {"seconds": 2.5}
    assert slept == [2.5]
    assert (await client.get("/slow?seconds=nan")).status_code == 422
    assert (await client.get("/slow?seconds=61")).status_code == 422


async def test_a_cached_answer_has_validators_and_the_fields_asked_for(client):
    response = await client.get("/cached", params={"control": "private, max-age=5", "vary": "Accept"})
    assert response.headers["Cache-Control"] == "private, max-age=5"
    assert response.headers["Vary"] == "Accept"
    again = await client.get("/cached", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == response.headers["ETag"]
    assert (await client.get("/cached", params={"control": "a\r\nX-Injected: 1"})).status_code == 422


async def test_head_has_the_headers_of_get(client):
    for path in ("/items/1", "/cached", "/bytes/10"):
        assert (await client.head(path)).status_code == 200


# -- streams -------------------------------------------------------------------------------------------------


async def test_a_stream_pauses_between_its_chunks(client, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(service_a.asyncio, "sleep", sleep)
    text = (await client.get("/stream?chunks=3&pause=0.25")).text
    assert text == "chunk 1 of 3\nchunk 2 of 3\nchunk 3 of 3\n"
    assert slept == [0.25, 0.25]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
async def test_a_download_has_its_length(client, size):
    response = await client.get(f"/bytes/{size}")
    assert len(response.content) == size
    assert response.headers["Content-Length"] == str(size)


async def test_a_download_needs_no_memory_for_what_it_sends():
    size, sent = 64 * 2**20, 0

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        nonlocal sent
        sent += len(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": f"/bytes/{size}", "query_string": b"", "headers": []}
    scope |= {"http_version": "1.1", "scheme": "http", "asgi": {"spec_version": "2.4"}}
    tracemalloc.start()
    try:
        await service_a.app(scope, receive, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent == size
    assert peak < 2 * 2**20


async def test_an_upload_is_counted_and_hashed(client):
    async def blocks():
        for n in range(10):
            yield bytes([n]) * 1000

    response = await client.post("/upload", content=blocks())
    body = b"".join(bytes([n]) * 1000 for n in range(10))
    assert response.json() == {"bytes": 10_000, "sha256": hashlib.sha256(body).hexdigest()}


# -- the whole -----------------------------------------------------------------------------------------------


def test_faker_is_not_loaded_at_the_start():
    script = "import sys, service_a; sys.exit('faker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


def test_the_documentation_can_be_made():
    assert "/items/{item_id}" in service_a.app.openapi()["paths"]
