import pytest

from lab.grading.similarity import fingerprints, similar, tokens

RENAMED = [
    ("self._windows", "self.table"),
    ("key", "who"),
    ("now", "moment"),
    ("window", "span"),
    ("count", "n"),
]

ANOTHER_WAY = """
    def __init__(self, limit, window):
        self.log = []
        self.args = (limit, window)

    def take(self, key, now):
        mine = [entry for entry in self.log if entry["key"] == key]
        for entry in mine:
            if entry["time"] + self.args[1] <= now:
                self.log.remove(entry)
        try:
            first = min(entry["time"] for entry in self.log if entry["key"] == key)
        except ValueError:
            first = None
        while len(mine) > 100:
            mine.pop()
        return first, self.args, {"mine": mine}
"""


@pytest.fixture(scope="module")
def solution(fixed_window):
    return fixed_window.solution.read_text("utf-8")


@pytest.fixture(scope="module")
def starter(fixed_window):
    return fixed_window.starter.decode("utf-8")


def test_new_names_comments_and_layout_change_nothing(solution):
    renamed = "# mine\n\n" + solution.replace("    ", "  ")
    for old, new in RENAMED:
        renamed = renamed.replace(old, new)
    assert renamed != solution
    assert tokens(renamed) == tokens(solution)


def test_docstrings_annotations_and_types_change_nothing():
    plain = "def f(a, b=2):\n    c = a\n    return c"
    dressed = 'def g(x: int, y: int = 2) -> int:\n    """Adds."""\n    z: int = x\n    return z'
    assert tokens(plain) == tokens(dressed)


def test_a_different_program_is_different():
    assert tokens("a = b + c") != tokens("a = b - c")
    assert tokens("a = 1") != tokens("a = 'x'")


def test_every_long_common_run_is_found():
    """Winnowing's guarantee: a run of K + WINDOW - 1 tokens in both leaves a fingerprint in both."""
    common = "".join(f"x{n} = [n * {n} for n in range({n}) if n % 3]\n" for n in range(3))
    first, second = f"import os\ndef f(): return 1\n{common}", f"{common}\nwhile True:\n    print('x')\n"
    assert fingerprints(first) & fingerprints(second)


def test_copies_are_named_and_the_reference_too(solution, starter):
    copied = solution.replace("key", "who")
    different = starter.partition("    def __init__")[0] + ANOTHER_WAY
    pairs = similar({"ada": copied, "bob": different}, {"reference": solution}, starter)
    assert [(p.first, p.second, p.share) for p in pairs] == [("ada", "reference", 1.0)]
    assert similar({"ada": different, "bob": different.replace("mine", "yours")}, {}, starter)[0].share == 1.0


def test_the_starter_and_what_cannot_be_parsed_are_like_nobody(starter):
    assert similar({"ada": starter, "bob": starter, "eve": "def (", "x": ""}, {}, starter) == []


def test_what_was_given_to_all_counts_for_nobody(solution):
    mine, yours = solution + "\nx = 1\n", solution + "\ny = 'a'\n"
    assert similar({"ada": mine, "bob": yours}, {}, "")[0].share == 1.0
    assert similar({"ada": mine, "bob": yours}, {}, solution) == []
