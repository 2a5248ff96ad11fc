import runpy
from pathlib import Path

import pytest

from lab.policies.breaker import diagram


def test_the_page_shows_the_table_as_it_is() -> None:
    text = diagram.PAGE.read_text(encoding="utf-8")
    assert text == diagram.renew(text), "stale: run python -m lab.policies.breaker.diagram"


def test_draws_every_transition_and_a_dash_for_what_cannot_happen() -> None:
    drawing = diagram.draw({("closed", "threshold_reached"): "open"})
    assert "    closed --> open: threshold_reached\n" in drawing
    assert "| **closed** | open | – | – | – |\n" in drawing
    assert "| **open** | – | – | – | – |\n" in drawing


def test_renews_only_what_stands_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{diagram.BEGIN}old\n{diagram.END}after\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["diagram", str(page)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(diagram.__file__, run_name="__main__")
    assert stopped.value.code == 0
    expected = f"before\n{diagram.BEGIN}{diagram.draw()}{diagram.END}after\n"
    assert page.read_text(encoding="utf-8") == expected


def test_without_a_page_it_is_the_one_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(diagram.BEGIN + diagram.END, encoding="utf-8")
    monkeypatch.setattr(diagram, "PAGE", page)
    assert diagram.main([]) == 0
    assert "stateDiagram" in page.read_text(encoding="utf-8")


def test_a_page_without_marks_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"no marks\n{diagram.BEGIN}", encoding="utf-8")
    assert diagram.main([str(page)]) == 1
    assert diagram.main([str(tmp_path / "missing.md")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "the page needs the lines" in errors[0]
