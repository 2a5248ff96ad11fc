"""A submission as a program: every way in which it may be started, found and ended."""

import os
import threading

import httpx
import psutil
import pytest

from lab.exercises import kit, program
from lab.exercises.agent import Agent, Complaint
from lab.exercises.program import Place, Program
from tests.processes import survivors

HEAD = """
import json, os, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        return
    told = {"main": __name__, "argv": sys.argv, "color": os.environ.get("COLOR"), "cwd": os.getcwd()}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})

"""
RUN = "import uvicorn\nuvicorn.run(app, host='127.0.0.1', log_level='critical', port="
OWN = HEAD.replace("async def app", "async def gate")
"""The same under a name that nobody looks for."""


@pytest.fixture
def start(tmp_path):
    """`start(text)`: what a client of that program is told, or how each try ended."""
    begun = []

    def call(text, name="exercise.py", **env):
        (tmp_path / name).write_text(text, encoding="utf-8")
        some = Program(tmp_path / name, env)
        begun.append(some)
        end = some.start()
        if not isinstance(end, Place):
            return [(each["command"], each["status"], (each["raised"] or {}).get("text")) for each in end]
        return httpx.get(kit.Served(end.host, end.port).url, trust_env=False).json()

    yield call
    for some in begun:
        some.stop()


@pytest.mark.parametrize(
    ("text", "main", "argv"),
    [
        (
            HEAD + f"if __name__ == '__main__':\n    {RUN.replace(chr(10), '; ')}int(os.environ['PORT']))",
            "__main__",
            1,
        ),
        (HEAD + RUN + "int(os.environ['PORT']))", "__main__", 1),
        (HEAD + RUN + "int(sys.argv[sys.argv.index('--port') + 1]))", "__main__", 3),
        (HEAD + RUN + "int(sys.argv[1]))", "__main__", 2),
        (HEAD, "submission_exercise", 1),
        (HEAD.replace("def app", "def application"), "submission_exercise", 1),
        (OWN + "def create_app():\n    return gate\n", "submission_exercise", 1),
        (
            OWN + f"def main():\n    {RUN.replace('app', 'gate').replace(chr(10), '; ')}0)",
            "submission_exercise",
            1,
        ),
        (
            OWN + "import uvicorn\nasync def main():\n"
            "    config = uvicorn.Config(gate, port=int(os.environ['PORT']), log_level='critical')\n"
            "    await uvicorn.Server(config).serve()\n",
            "submission_exercise",
            1,
        ),
        (HEAD + "if __name__ == '__main__':\n    sys.exit('usage: …')", "submission_exercise", 1),
    ],
    ids=[
        "guarded",
        "bare",
        "--port",
        "port",
        "app",
        "application",
        "create_app",
        "main",
        "async main",
        "refuses",
    ],
)
def test_it_is_started_in_every_way_that_is_usual(start, tmp_path, text, main, argv):
    told = start(text, COLOR="red")
    assert (told["main"], len(told["argv"]), told["color"]) == (main, argv, "red")
    assert (os.path.basename(told["argv"][0]), told["cwd"]) == ("exercise.py", str(tmp_path))


def test_one_that_listens_elsewhere_is_known_for_it(tmp_path):
    (tmp_path / "exercise.py").write_text(HEAD + RUN + "0)", encoding="utf-8")
    some = Program(tmp_path / "exercise.py", {})
    try:
        assert isinstance(some.start(), Place)
        assert some.elsewhere
    finally:
        some.stop()


def test_a_program_that_listens_elsewhere_is_asked_there(start):
    assert start(HEAD + RUN + "0)")["main"] == "__main__"


def test_of_several_ports_the_one_in_PORT_counts(start):
    other = "import socket\nother = socket.create_server(('127.0.0.1', 0))\n"
    assert start(other + HEAD + RUN + "int(os.environ['PORT']))")["main"] == "__main__"


def test_one_that_is_at_work_may_come_to_PORT_later(start):
    text = "import socket, time\nother = socket.create_server(('127.0.0.1', 0))\n"
    text += (
        f"until = time.process_time() + {2 * program.ELSEWHERE}\nwhile time.process_time() < until: pass\n"
        + HEAD
        + RUN
        + "int(os.environ['PORT']))"
    )
    assert start(text)["main"] == "__main__"


def test_what_its_own_processes_listen_on_counts(start):
    text = (
        HEAD
        + "if os.fork() == 0:\n    "
        + RUN.replace("\n", "\n    ")
        + "int(os.environ['PORT']))\nos.wait()"
    )
    assert start(text)["main"] == "__main__"


@pytest.mark.parametrize("how", ["reload=True", "workers=2"])
def test_uvicorn_may_start_processes_of_its_own(start, how):
    text = (
        HEAD
        + "if __name__ == '__main__':\n    "
        + RUN.replace("\n", "\n    ").replace("(app", "('exercise:app'")
    )
    assert start(f"{text}int(os.environ['PORT']), {how})")["main"] == "exercise"


def test_a_program_may_start_itself_anew(start):
    text = (
        "if 'ANEW' not in os.environ:\n"
        "    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, 'ANEW': 'yes'})\n"
    )
    assert start(HEAD + text + RUN + "int(os.environ['PORT']))")["argv"] == ["exercise.py"]


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp6"), reason="no IPv6 to be told of")
def test_one_that_listens_on_ipv6_only_is_found(start):
    with open("/proc/net/if_inet6") as file:
        if not file.read():
            pytest.skip("no IPv6 here")
    assert start(HEAD + RUN.replace("127.0.0.1", "::1") + "int(os.environ['PORT']))")["main"] == "__main__"


def test_files_beside_it_are_there(start, tmp_path):
    (tmp_path / "settings.py").write_text("COLOR = open('color.txt').read()")
    (tmp_path / "color.txt").write_text("blue")
    text = "from settings import COLOR\n" + HEAD.replace("os.environ.get('COLOR')", "COLOR")
    assert start(text.replace('os.environ.get("COLOR")', "COLOR"))["color"] == "blue"


def test_each_way_that_failed_is_told(start):
    assert start("import os\n1 / 0", name="gateway.py") == [
        ("python gateway.py", 1, "division by zero"),
        ("python gateway.py --port PORT", 1, "division by zero"),
        ("python gateway.py PORT", 1, "division by zero"),
        ("import gateway.py", 1, "division by zero"),
    ]


def test_who_ends_well_is_not_asked_again_with_arguments(start):
    assert start("print('hello')") == [
        ("python exercise.py", 0, None),
        ("import exercise.py", 1, "exercise.py has no app, no create_app() and no main()"),
    ]


def test_one_that_never_listens_is_told(start, monkeypatch):
    monkeypatch.setattr(program, "START", 0.2)
    with pytest.raises(Complaint, match=r"`python exercise\.py` went on for 0\.2 seconds"):
        start("import threading\nthreading.Event().wait()")


def test_all_of_it_ends_when_it_is_stopped(tmp_path):
    (tmp_path / "exercise.py").write_text(
        "import os\nif os.fork() == 0:\n    while True: pass\n" + HEAD + RUN + "int(os.environ['PORT']))"
    )
    some = Program(tmp_path / "exercise.py", {})
    assert isinstance(some.start(), Place)
    # Not the process that programs may be forked from, which stays.
    everyone = psutil.Process().children(recursive=True)
    tree = [one for one in everyone if os.getpgid(one.pid) == some._process.pid]
    assert len(tree) >= 2
    some.stop()
    assert survivors(tree) == []


def test_where_threads_run_it_comes_from_a_server_without_any(start):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert program.kind_of_process().get_start_method() in ("forkserver", "spawn")
        assert start(HEAD)["main"] == "submission_exercise"
    finally:
        stop.set()
        thread.join()


def test_a_check_starts_it_and_says_what_it_cannot(tmp_path):
    @kit.check(points=1, why="", mistake="route")
    def test_listens(student):
        with student.run({"COLOR": "green", "SERVICE_A_URL": "http://127.0.0.1:4711"}) as served:
            kit.expect(httpx.get(served.url, trust_env=False).json()["color"], "green")
        kit.expect(student.calls.text(), "start it with COLOR=green")

    def checked(text):
        (tmp_path / "exercise.py").write_text(text)
        agent = Agent(tmp_path / "exercise.py")
        return kit.execute(test_listens.lab_check, kit.LocalChannel(agent))

    assert checked(HEAD).passed
    broken = checked("import nothing_of_this_name")
    assert (broken.status, broken.mistake) == ("failed", "")
    assert "python exercise.py: ModuleNotFoundError" in broken.text
    assert "import exercise.py: ModuleNotFoundError" in broken.text
    assert broken.text.count("ModuleNotFoundError") == 2


@pytest.mark.parametrize(
    "where", [["192.0.2.1", 80], ["127.0.0.1", "80"], ["127.0.0.1", 0], ["127.0.0.1", True]]
)
def test_nobody_is_sent_to_another_machine(where):
    with pytest.raises(kit.Failure, match="an address of this machine"):
        kit.served_at(dict(zip(("host", "port"), where, strict=True)))
