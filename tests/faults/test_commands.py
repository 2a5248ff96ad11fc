from __future__ import annotations

import json

import pytest

from lab.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["fault", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_set_list_and_clear(capsys: pytest.CaptureFixture[str], service_a: str) -> None:
    url = f"--url=service-a={service_a}"
    assert run(capsys, "list", url) == (0, "service-a  no fault\n", "")
    status, out, _ = run(capsys, "set", "service-a", "latency", "--ms", "300", "--ttl=10", url)
    assert status == 0
    assert out.startswith("service-a  latency 300 ms, ")
    status, out, _ = run(capsys, "list", "--json", url)
    [report] = json.loads(out)["service-a"]
    assert (report["ms"], report["ttl"]) == (300, 10)
    assert run(capsys, "clear", url) == (0, "service-a  cleared: latency 300 ms\n", "")
    assert run(capsys, "clear", url) == (0, "there was nothing to clear\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "service-a", "latency", "--mss", "3"], "latency: mss: unknown key; did you mean 'ms'?"),
        (["set", "service-a", "latenc"], "did you mean 'latency'?"),
        (["set", "service-x", "latency"], "no service is called 'service-x'"),
        (["set", "service-a", "latency", "--ms"], "--ms needs a value"),
        (["set", "service-a", "latency", "10"], "an option such as --ttl was expected, got '10'"),
        (["list", "--url", "service-a"], "NAME=http://HOST:PORT was expected"),
        (["list", "--url", "service-a=http://127.0.0.1:99999"], "an address such as http://127.0.0.1:8000"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], service_a: str, arguments: list[str], message: str
) -> None:
    status, out, err = run(capsys, *arguments, f"--url=service-a={service_a}")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_list_of_services_none_of_which_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "list", "--url=service-a=http://127.0.0.1:1")
    assert (status, out) == (2, "")
    assert err == "lab: no service answers; start the lab with: lab up\n"


def test_a_service_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "set", "service-a", "error", "--url=service-a=http://127.0.0.1:1")
    assert status == 2
    assert "cannot be reached" in err


def test_kinds_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "kinds")
    assert "latency    --ttl --probability --first --path --header --seed --ms --jitter\n" in out
    assert "--status --retry-after\n" in out  # spelt as an option is
    assert json.loads(run(capsys, "kinds", "--json")[1])["stop"]["properties"]["ttl"]["maximum"] == 600
