"""The repository as a whole: what is pinned, what is tracked, which way imports run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lab.bootstrap import DEV, PINS, ROOT, USER

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name: str) -> dict[str, tuple[Version, Requirement, int]]:
    """The pins of a file: name → version, the requirement with its marker, the number of hashes."""
    found = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip()):
        requirement = Requirement(re.split(r"\s*\\\n", block)[0])
        (version,) = [spec.version for spec in requirement.specifier if spec.operator == "=="]
        hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}(?:\s|$)", block))
        found[canonicalize_name(requirement.name)] = Version(version), requirement, hashes
    return found


@pytest.mark.parametrize("name", PINS.values())
def test_pins_name_no_place_and_are_hashed(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"https?:|file:|@|--(?!hash)|\n\s*/|\b[\w-]+\.(?:org|com|net|io)\b", text) == []
    assert all(hashes for _, _, hashes in pins(name).values())


@pytest.mark.parametrize(
    ("name", "required"),
    [
        (PINS[USER], PROJECT["dependencies"]),
        (PINS[DEV], [r for rs in (PROJECT["dependencies"], *EXTRAS.values()) for r in rs]),
    ],
)
def test_pins_satisfy_what_the_project_asks_for(name: str, required: list[str]) -> None:
    pinned = pins(name)
    for requirement in map(Requirement, required):
        version, _, _ = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version}"


def test_both_files_pin_the_same_versions() -> None:
    user, dev = pins(PINS[USER]), pins(PINS[DEV])
    assert {name: str(version) for name, (version, _, _) in user.items()}.items() <= {
        name: str(version) for name, (version, _, _) in dev.items()
    }.items()


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_pins_are_complete_on_each_system(system: str, python: str) -> None:
    """What this project asks for on a system is pinned for that system."""
    environment = {"sys_platform": system, "python_version": python, "implementation_name": "cpython"}
    pinned = pins(PINS[USER])
    for requirement in map(Requirement, PROJECT["dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            _, pin, _ = pinned[canonicalize_name(requirement.name)]
            assert pin.marker is None or pin.marker.evaluate(environment), f"{pin} on {system}"


def tracked() -> list[Path]:
    """The files that git keeps."""
    try:
        ran = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a clone")
    return [path for name in ran.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_nothing_tracked_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(rb"(?<![\w.*])/(?:home/(?!student\b)\w+|Users/\w+|root|work)/|[A-Z]:\\\\?Users\\")
    found = {str(path.relative_to(ROOT)) for path in tracked() if place.search(path.read_bytes())}
    assert found - {"tests/test_frame.py"} == set()


def test_what_a_run_leaves_behind_is_not_tracked() -> None:
    tracked()  # or skip
    ran = subprocess.run(
        ["git", "check-ignore", ".venv/x", ".lab/setup.log", "gateway_lab.egg-info/x"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(ran.stdout.split()) == 3


def test_ci_runs_the_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "\nstep python3 -m lab test\n" in script
    assert re.search(
        r"^python3 -m lab test\b", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    for tool in ("ruff check", "ruff format --check", "mypy", "lint_imports"):
        assert tool in script


def test_imports_run_one_way() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
