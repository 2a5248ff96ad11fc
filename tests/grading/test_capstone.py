"""The capstone as it is handed in: a program, started by its own command, however it is written."""

import io
import zipfile

import pytest

from lab.exercises.catalog import Exercise, find
from lab.grading import intake
from lab.grading.grade import Grader
from lab.grading.sandbox import Sandboxes
from lab.grading.worker import sources_of

from .conftest import PATIENT, SLOT

SOME = (
    "test_a_request_reaches_its_service",
    "test_ten_requests_pass_and_no_more",
    "test_a_websocket_carries_text",
)
"""These need a gateway that was started in the right place, with the right configuration, and only once."""


class FewChecks(Exercise):
    """An exercise with some of its checks."""

    def checks(self):
        return [check for check in super().checks() if check.name in SOME]


@pytest.fixture(scope="module")
def capstone():
    return FewChecks(**vars(find("16")))


@pytest.fixture(scope="module")
def gateway(capstone):
    """`gateway(tail)`: the solution, with another end."""
    text = capstone.solution.read_text("utf-8")
    head, found, _ = text.partition('if __name__ == "__main__":')
    assert found
    return lambda tail: head + tail


@pytest.fixture(scope="module")
def boxes(capstone):
    with Sandboxes(slot=SLOT + 1000, sources=sources_of([capstone])) as made:
        yield made


@pytest.fixture
def grade(boxes, capstone, tmp_path):
    """`grade({name: text})`: what those files, handed in as an archive, are worth, check for check."""

    def run(files):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        (tmp_path / "ada.zip").write_bytes(data.getvalue())
        (tmp_path / "copies").mkdir()
        (one,) = intake.collect([tmp_path / "ada.zip"], [capstone], capstone, tmp_path / "copies")
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        file = intake.work_folder(one.files[capstone.name], tmp_path / "work")
        verdicts, _ = Grader(boxes, seed=1, slack=PATIENT).grade(capstone, tmp_path / "work", file)
        return {verdict.name: verdict for verdict in verdicts}

    return run


ENDS = {
    "a port of its own": "import uvicorn\nuvicorn.run(app, port=8000)\n",
    "a variable of its own": "import uvicorn\nuvicorn.run(app, port=int(os.environ.get('MY_PORT', 8080)))\n",
    "an option": (
        "import argparse, uvicorn\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--port', type=int, required=True)\n"
        "uvicorn.run(app, host='localhost', port=parser.parse_args().port)\n"
    ),
    "main": "def main():\n    import uvicorn\n    uvicorn.run(app, port=int(os.environ['PORT']))\n",
    "a factory": "made = app\ndel app\ndef create_app():\n    return made\n",
    "a long start": (
        "import threading, uvicorn\nprint('warming up …', flush=True)\nthreading.Event().wait(1.0)\n"
        "logging.basicConfig(level='DEBUG')\n"
        "if __name__ == '__main__':\n    uvicorn.run(app, port=int(os.environ['PORT']), log_level='trace')\n"
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_it_is_graded_however_it_begins(grade, gateway, end):
    verdicts = grade({"gateway.py": gateway(end)})
    assert [verdict.text for verdict in verdicts.values() if not verdict.passed] == []


def test_it_may_have_several_files(grade, gateway):
    files = {"work/gateway.py": "from application import app", "work/application/__init__.py": gateway("")}
    assert all(verdict.passed for verdict in grade(files | {"work/README.md": "hello"}).values())


def test_one_that_cannot_be_started_is_told_why_and_made_no_known_mistake(grade):
    verdicts = grade({"gateway.py": "import nothing_of_this_name\n"})
    first = verdicts[SOME[0]]
    assert (first.status, first.mistake) == ("failed", "")
    assert (
        "python gateway.py: ModuleNotFoundError: No module named 'nothing_of_this_name' (line 1" in first.text
    )
    assert {verdict.mistake for verdict in verdicts.values()} == {""}


def test_one_with_an_error_in_its_syntax_is_not_started_at_all(grade):
    verdicts = grade({"gateway.py": "app = (\n"})
    assert {verdict.status for verdict in verdicts.values()} == {"unloadable"}
    assert "SyntaxError" in verdicts[SOME[0]].text


def test_one_that_hangs_or_floods_costs_itself(grade, gateway):
    """After the first answer: an endless body, of which only so much is read."""
    endless = (
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n        await receive()\n"
        "        return await send({'type': 'lifespan.startup.complete'})\n"
        "    if scope['type'] == 'websocket':\n        return await send({'type': 'websocket.close'})\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    while True:\n"
        "        await send({'type': 'http.response.body', 'body': b'x' * 100_000, 'more_body': True})\n"
    )
    verdicts = grade({"gateway.py": endless})
    assert not any(verdict.passed for verdict in verdicts.values())
    assert "more than 1024 KiB" in verdicts[SOME[0]].text
