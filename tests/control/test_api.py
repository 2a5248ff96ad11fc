from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import PIPELINE
from lab.control import Gateway
from lab.policies.request_id import RequestId
from lab.settings import build
from tests.control.world import world


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    return str(document["detail"])


async def test_the_gateway_is_alive_and_ready_until_it_drains() -> None:
    async with world() as w:
        assert (await w.get("/health")).json()["status"] == "ok"
        assert (await w.get("/health/ready")).status_code == 200
        w.gateway.draining = True
        problem(await w.get("/health/ready"), 503)
        assert (await w.get("/health")).status_code == 200


async def test_services_are_asked_and_a_dead_one_is_down() -> None:
    async with world() as w:
        document = (await w.get("/health/services")).json()
        assert document["status"] == "degraded"
        assert document["services"]["service-a"]["status"] == "down"
        assert (await w.get("/health/services/service-a")).status_code == 503
        problem(await w.get("/health/services/nope"), 404)


async def test_health_never_shows_an_address() -> None:
    async with world() as w:
        for path in ("/health", "/health/ready", "/health/services", "/health/services/service-a"):
            assert "127.0.0.1" not in (await w.get(path)).text


async def test_own_errors_are_problem_json_with_an_id() -> None:
    async with world() as w:
        response = await w.get("/health/none/such")
        problem(response, 404)
        assert "x-request-id" in response.headers
        problem(await w.client.post("/health"), 405)


@pytest.mark.parametrize(
    "path", ["/admin", "/admin/snapshot", "/admin/no/such", "/%61dmin/snapshot", "/admin/policies/rate_limit"]
)
async def test_admin_needs_the_token(path: str) -> None:
    async with world() as w:
        response = await w.get(path)
        problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        problem(await w.get(path, headers={"authorization": "Bearer wrong"}), 401)
        problem(await w.get(path, headers={"authorization": "Basic t0ken"}), 401)


async def test_without_a_token_admin_is_shut() -> None:
    async with world(token=None) as w:
        problem(await w.get("/admin/snapshot"), 403)
        problem(await w.get("/admin/snapshot", headers={"authorization": "Bearer "}), 403)


async def test_the_snapshot_has_a_value_for_everything_with_no_traffic_at_all() -> None:
    async with world() as w:
        document = (await w.admin("GET", "/admin/snapshot")).json()
    assert document["type"] == "snapshot"
    assert set(document["services"]) == {"service-a", "service-b"}
    service = document["services"]["service-a"]
    assert service["health"] == "unknown"
    assert service["breaker"]["state"] == "closed"
    assert service["pool"] == {"in_use": 0, "idle": 0, "waiting": 0, "limit": 100}
    assert document["totals"]["requests"] == 0
    assert document["latency"] == {"p50": None, "p95": None, "p99": None}
    assert list(document["policies"]) == ["auth", "rate_limit", "cache", "bulkhead", "breaker", "retry"]


async def test_the_snapshot_counts_what_happened() -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        for _ in range(3):
            await w.get("/service-a/x")
        document = (await w.admin("GET", "/admin/snapshot")).json()
    totals = document["totals"]
    assert (totals["requests"], totals["admitted"], totals["limited"]) == (3, 2, 1)
    assert (totals["misses"], totals["hits"], totals["upstream_calls"]) == (1, 1, 1)
    assert [entry["status"] for entry in document["requests"]][:3] == [200, 200, 429]
    assert document["paths"] == [{"path": "/service-a/x", "requests": 3}]
    assert document["clients"][0]["limited"] == 1


async def test_no_key_or_token_is_in_the_snapshot() -> None:
    keys = {"auth": {"enabled": True, "keys": [{"name": "demo", "key": "s3cret-key"}]}}
    async with world(keys) as w:
        await w.get("/service-a/x", headers={"x-api-key": "s3cret-key"})
        text = (await w.admin("GET", "/admin/snapshot")).text
        text += (await w.get("/metrics")).text
    assert "s3cret" not in text
    assert "t0ken" not in text


async def test_a_service_is_added_changed_and_removed_while_running() -> None:
    async with world() as w:
        problem(await w.get("/third/x"), 404)
        response = await w.admin("PUT", "/admin/services/third", json={"url": "http://127.0.0.1:3"})
        assert response.status_code == 201
        assert (await w.get("/third/x")).status_code == 502
        response = await w.admin("PUT", "/admin/services/third", json={"timeout": 3})
        assert response.status_code == 200
        assert response.json()["url"] == "http://127.0.0.1:3"
        listed = (await w.admin("GET", "/admin/services")).json()
        assert listed["third"]["timeout"] == 3.0
        assert (await w.admin("GET", "/admin/services/third")).json() == listed["third"]
        assert (await w.admin("DELETE", "/admin/services/third")).status_code == 204
        problem(await w.get("/third/x"), 404)
        problem(await w.admin("DELETE", "/admin/services/third"), 404)
        assert [event["action"] for event in w.events if event["kind"] == "service"] == [
            "added",
            "changed",
            "removed",
        ]


@pytest.mark.parametrize("use", ["http", "ttl"])
async def test_what_was_stored_of_a_service_goes_when_it_goes_or_moves(use: str) -> None:
    async with world({"cache": {"use": use}}) as w:

        async def stored() -> list[str]:
            return [(await w.get(f"/{name}/x")).headers["x-cache"] for name in ("service-a", "service-b")]

        await stored()
        assert await stored() == ["HIT", "HIT"]
        settings = w.gateway.services["service-a"].settings
        await w.admin("PUT", "/admin/services/service-a", json={"timeout": 3})
        assert await stored() == ["HIT", "HIT"]
        await w.admin("PUT", "/admin/services/service-a", json={"url": "http://127.0.0.1:3"})
        assert (await w.get("/service-a/x")).status_code == 502
        assert (await w.get("/service-b/x")).headers["x-cache"] == "HIT"
        await w.admin("DELETE", "/admin/services/service-b")
        await w.admin("PUT", "/admin/services/service-b", json=settings.model_dump())
        assert (await w.get("/service-b/x")).status_code == 502


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("admin", {"url": "http://127.0.0.1:3"}, "gateway's own"),
        ("a b", {"url": "http://127.0.0.1:3"}, "a service name is made of"),
        ("third", {}, "url"),
        ("third", {"url": "nonsense"}, "url"),
        ("third", {"url": "http://127.0.0.1:3", "retires": 1}, "did you mean 'retries'"),
        ("third", {"url": "http://127.0.0.1:3", "timeout": -1}, "timeout"),
    ],
)
async def test_a_service_that_makes_no_sense_is_refused_with_the_key(
    name: str, body: object, said: str
) -> None:
    async with world() as w:
        assert said in problem(await w.admin("PUT", f"/admin/services/{name}", json=body), 422)
        assert set(w.gateway.services) == {"service-a", "service-b"}


async def test_one_entry_of_the_cache_is_purged_or_all() -> None:
    async with world() as w:
        for path in ("/service-a/x?a=1", "/service-a/y"):
            await w.get(path)
            assert (await w.get(path)).headers["x-cache"] == "HIT"
        purged = await w.admin("DELETE", "/admin/cache", params={"path": "/service-a/x?a=1"})
        assert purged.json() == {"purged": 1}
        assert (await w.get("/service-a/x?a=1")).headers["x-cache"] == "MISS"
        assert (await w.get("/service-a/y")).headers["x-cache"] == "HIT"
        misspelt = await w.admin("DELETE", "/admin/cache", params={"pth": "/service-a/y"})
        assert "pth" in problem(misspelt, 422)
        assert (await w.admin("DELETE", "/admin/cache")).json() == {"purged": 2}
        assert (await w.get("/service-a/y")).headers["x-cache"] == "MISS"


async def test_a_breaker_is_held_open_and_closed_and_let_go() -> None:
    async with world() as w:
        response = await w.admin("PUT", "/admin/breakers/service-a", json={"state": "open"})
        assert response.json()["state"] == "open"
        problem(await w.get("/service-a/x"), 503)
        assert (await w.get("/service-b/x")).status_code == 200
        await w.admin("PUT", "/admin/breakers/service-a", json={"state": "auto"})
        assert (await w.get("/service-a/x")).status_code == 200
        problem(await w.admin("PUT", "/admin/breakers/nope", json={"state": "open"}), 404)
        problem(await w.admin("PUT", "/admin/breakers/service-a", json={"state": "ajar"}), 422)
        assert [e["to"] for e in w.events if e["kind"] == "breaker"] == ["open", "closed"]


async def test_what_a_breaker_is_held_in_is_told_where_the_policy_is_off_too() -> None:
    async with world({"breaker": {"enabled": False}}) as w:
        response = await w.admin("PUT", "/admin/breakers/service-a", json={"state": "open"})
        assert (response.json()["state"], response.json()["forced"]) == ("open", True)
        assert (await w.get("/service-a/x")).status_code == 200


async def test_a_gateway_of_fewer_policies_can_be_controlled() -> None:
    async with world(pipeline=[RequestId]) as w:
        assert (await w.get("/service-a/x")).status_code == 200
        assert "no policy is called 'cache'" in problem(await w.admin("DELETE", "/admin/cache"), 404)
        held = await w.admin("PUT", "/admin/breakers/service-a", json={"state": "open"})
        assert "no policy is called 'breaker'" in problem(held, 404)
        moved = {"url": "http://127.0.0.1:3"}
        assert (await w.admin("PUT", "/admin/services/service-a", json=moved)).status_code == 200
        assert (await w.admin("DELETE", "/admin/services/service-a")).status_code == 204
        assert (await w.admin("GET", "/admin/snapshot")).json()["totals"]["requests"] == 0


async def test_a_note_reaches_the_viewers() -> None:
    async with world() as w:
        assert (
            await w.admin("POST", "/admin/notes", json={"action": "fault", "text": "x"})
        ).status_code == 204
        assert w.events[-1]["kind"] == "note"
        assert w.events[-1]["action"] == "fault"


async def test_the_metrics_have_the_promised_names_and_only_the_promised_labels() -> None:
    async with world() as w:
        await w.get("/service-a/x")
        await w.get("/service-a/x")
        w.gateway.services["service-b"].health = "down"
        text = (await w.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    labels = {
        name: {label for sample in family.samples for label in sample.labels if label != "le"}
        for name, family in families.items()
    }
    assert labels == {
        "gateway_requests": {"method", "service", "status"},
        "gateway_request_duration_seconds": {"method", "service"},
        "gateway_upstream_duration_seconds": {"service"},
        "gateway_active_connections": {"kind"},
        "gateway_service_health": {"service"},
        "gateway_circuit_breaker_state": {"service", "state"},
        "gateway_circuit_breaker_failures": {"service"},
        "gateway_rate_limit_requests": {"limited"},
        "gateway_cache_hits": {"service"},
        "gateway_cache_misses": {"service"},
        "gateway_upstream_pool_connections": {"service", "state"},
    }
    samples = {
        (s.name, *sorted(s.labels.values())): s.value for family in families.values() for s in family.samples
    }
    assert samples["gateway_requests_total", "200", "GET", "service-a"] == 2
    assert samples["gateway_cache_hits_total", "service-a"] == 1
    assert samples["gateway_cache_misses_total", "service-a"] == 1
    assert samples["gateway_circuit_breaker_state", "closed", "service-a"] == 1
    assert samples["gateway_circuit_breaker_state", "open", "service-a"] == 0
    assert samples["gateway_circuit_breaker_failures_total", "service-a"] == 0
    assert samples["gateway_rate_limit_requests_total", "false"] == 2
    assert samples["gateway_rate_limit_requests_total", "true"] == 0
    assert samples["gateway_cache_hits_total", "service-b"] == 0
    assert samples["gateway_cache_misses_total", "service-b"] == 0
    assert samples["gateway_upstream_duration_seconds_count", "service-a"] == 1
    assert samples["gateway_service_health", "service-a"] == 1
    assert samples["gateway_service_health", "service-b"] == 0


async def test_the_gateway_s_own_api_is_documented() -> None:
    async with world() as w:
        paths = (await w.get("/openapi.json")).json()["paths"]
        assert (await w.get("/docs")).status_code == 200
    assert "/admin/policies/{name}" in paths
    assert "/health/services/{name}" in paths


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections open

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_without_a_lifespan_each_request_may_come_from_an_event_loop_of_its_own() -> None:
    """As those of Starlette's TestClient do outside a `with`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{service.server_port}"
        gateway = Gateway(
            build({"services": {"service-a": {"url": url}}, "cache": {"enabled": False}}, {}), PIPELINE
        )

        async def ask() -> int:
            transport = httpx.ASGITransport(gateway)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
                return (await client.get("/service-a/")).status_code

        try:
            assert [asyncio.run(ask()) for _ in range(3)] == [200, 200, 200]
        finally:
            gateway.access_log.close()
            service.shutdown()
