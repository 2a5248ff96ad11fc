"""What exists of the lab in a sandbox."""

import ast
import subprocess
import sys

import pytest

from lab.exercises.catalog import exercises
from lab.grading import vocabulary


def run(folder, program):
    return subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.name)
def test_starters_and_solutions_find_what_they_import(tmp_path, exercise):
    sources = [exercise.starter.decode("utf-8"), exercise.solution.read_text("utf-8")]
    vocabulary.write(tmp_path, sources)
    for source in sources:
        tree = ast.parse(source)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        done = run(
            tmp_path,
            "\n".join(ast.unparse(node) for node in imports if node.__dict__.get("module") != "__future__"),
        )
        assert done.returncode == 0, done.stderr


def test_the_reference_is_cut_away(tmp_path):
    vocabulary.write(
        tmp_path, ["from lab.policies.rate_limit import Verdict", "from lab.policies.retry import RetryStage"]
    )
    done = run(tmp_path, "from lab.policies.rate_limit import Verdict; print(Verdict(True, 1, 0, 1.0, 0.0))")
    assert "admitted=True" in done.stdout, done.stderr
    text = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.py"))
    assert "class FixedWindow" not in text
    assert "class RateLimit" not in text
    assert "import RateLimitSettings" not in text


def test_a_submission_may_name_its_protocol_as_its_base(tmp_path):
    vocabulary.write(tmp_path, [])
    program = "\n".join(vocabulary.PROTOCOLS) + "\nclass Mine(Limiter): pass\nprint(Mine.__mro__[1].__name__)"
    done = run(tmp_path, program)
    assert done.stdout.strip() == "Limiter", done.stderr
    assert {
        node.name
        for path in tmp_path.rglob("policies/**/*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    } >= {"Limiter", "Verdict", "Store", "Breaker", "Backoff"}


def test_what_a_name_needs_comes_with_it(tmp_path):
    vocabulary.write(tmp_path, ["from lab.policies.matching import matcher"])
    done = run(tmp_path, "from lab.policies.matching import matcher; print(bool(matcher('/a/**')))")
    assert done.returncode == 0, done.stderr


def test_no_check_and_no_solution_is_in_it(tmp_path):
    vocabulary.write(tmp_path, ["from lab.exercises.kit import check"])
    assert not (tmp_path / "lab" / "grading").exists()
    assert not (tmp_path / "lab" / "exercises" / "worker.py").exists()
