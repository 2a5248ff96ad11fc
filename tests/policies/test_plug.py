from __future__ import annotations

from pathlib import Path

import pytest

from lab.policies.plug import PlugError, construct, find, oneline


class Known:
    pass


BUILT_IN = {"known": Known}


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_short_name_is_a_built_in() -> None:
    assert find("known", BUILT_IN) is Known


def test_a_module_is_named_with_its_class() -> None:
    assert find("collections:Counter", {}).__name__ == "Counter"


def test_a_file_is_loaded_afresh_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "class Mine:\n    version = 1\n")
    first = find(f"{path}:Mine", {})
    write(tmp_path / "mine.py", "class Mine:\n    version = 2\n")
    second = find(f"{path}:Mine", {})
    assert (first.version, second.version) == (1, 2)
    assert first.__module__ != second.__module__


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("knwon", "did you mean 'known'?"),
        ("nothing:", "neither a built-in"),
        ("no.such.module:X", "there is no module"),
        ("no_such_module:X", "there is no module 'no_such_module'"),
        ("/no/such/file.py:X", "there is no file"),
        ("collections:Conter", "has no class 'Conter'"),
        ("collections:namedtuple", "is not a class"),
    ],
)
def test_what_cannot_be_found_is_one_line_that_helps(use: str, said: str) -> None:
    with pytest.raises(PlugError, match=r"^[^\n]+$") as caught:
        find(use, BUILT_IN)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["def broken(:", "1 / 0", "import no_such_thing", "raise SystemExit(0)"])
def test_a_file_that_cannot_be_loaded_is_one_line_too(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "mine.py", text)
    with pytest.raises(PlugError, match=r"^use: .* cannot be loaded: \w+Error|SystemExit"):
        find(f"{path}:Mine", {})


def test_a_misspelt_class_is_suggested(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "class SlidingWindow: pass\n")
    with pytest.raises(PlugError, match="did you mean 'SlidingWindow'"):
        find(f"{path}:SlidingWidow", {})


def test_a_constructor_gets_what_it_names() -> None:
    class One:
        def __init__(self, limit: int) -> None:
            self.got = {"limit": limit}

    class All:
        def __init__(self, **options: int) -> None:
            self.got = options

    assert construct(One, limit=1, window=2).got == {"limit": 1}
    assert construct(All, limit=1, window=2).got == {"limit": 1, "window": 2}


def test_a_constructor_that_wants_something_else_or_raises_is_a_plug_error() -> None:
    class Other:
        def __init__(self, colour: str) -> None: ...

    class Bad:
        def __init__(self) -> None:
            raise ZeroDivisionError

    for cls in (Other, Bad):
        with pytest.raises(PlugError, match=f"{cls.__name__} cannot be made"):
            construct(cls, limit=1)


def test_an_error_s_text_is_folded_into_one_line() -> None:
    assert oneline(ValueError("a\n  b")) == "ValueError: a b"
    assert oneline(ValueError()) == "ValueError"


def test_a_module_without_source_is_used_as_it_is() -> None:
    assert find("builtins:dict", {}) is dict


def test_a_class_whose_constructor_cannot_be_read_is_a_plug_error() -> None:
    with pytest.raises(PlugError, match="no signature"):
        construct(type)
