"""The pages under docs/: examples that load, parameters as they are, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway import PIPELINE
from lab.control import Gateway
from lab.settings import Settings, build
from tests.docs.page import DOCS, blocks, rows

PAGES = sorted(DOCS.rglob("*.md"))
POLICIES = ("auth", "rate_limit", "cache", "bulkhead", "breaker", "retry")
NEW = {"write-a-policy.md"}
"""Pages whose configuration needs what they have the reader write first; they have tests of their own."""


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in NEW], ids=page_id)
def test_every_configuration_that_is_shown_starts_a_gateway(page: Path) -> None:
    for block in blocks(text(page), "yaml"):
        environ = {name: f"the value of {name}" for name in re.findall(r"\$\{(\w+)", block)}
        gateway = Gateway(build(yaml.safe_load(block), environ), PIPELINE)
        gateway.access_log.close()


@pytest.mark.parametrize("name", POLICIES)
def test_a_page_has_an_example_and_names_every_key(name: str) -> None:
    page = text(DOCS / "policies" / f"{name}.md")
    (example,) = blocks(page, "yaml")
    assert name in yaml.safe_load(example)
    section = type(getattr(Settings(), name))
    missing = [key for key in section.model_fields if not re.search(rf"`{key}`|\b{key}:", page)]
    assert missing == []


@pytest.mark.parametrize("name", ["cache", "bulkhead", "breaker", "retry"])
def test_the_defaults_that_are_shown_are_the_defaults(name: str) -> None:
    section = getattr(Settings(), name)
    table = rows(text(DOCS / "policies" / f"{name}.md"), "key")
    shown = {key: default.strip("`") for key, default, *_ in table if "." not in key}
    assert set(shown) == set(type(section).model_fields) - {"enabled"}
    for key, said in shown.items():
        value = getattr(section, key)
        if isinstance(value, float):
            assert float(said) == value, key
        else:
            assert said == {None: "none", True: "true", False: "false"}.get(value, str(value)), key


@pytest.mark.parametrize("page", sorted((DOCS / "policies").glob("*.md")), ids=page_id)
def test_every_policy_s_page_has_the_same_parts(page: Path) -> None:
    if page.name == "README.md":
        listed = set(re.findall(r"\]\(([a-z_]+\.md)\)", text(page)))
        assert listed == {p.name for p in page.parent.glob("*.md")} - {"README.md"}
        return
    headings = re.findall(r"^## (.+)$", text(page), re.MULTILINE)
    assert any(heading.startswith("Limits") for heading in headings)
    assert headings[-1] == "Sources"
    assert "```\n" in text(page), "no drawing"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", text(page)):
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            anchors = [
                re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
                for heading in re.findall(r"^#+ (.+)$", text(target), re.MULTILINE)
            ]
            assert fragment in anchors, link


def test_the_index_has_every_page() -> None:
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", text(DOCS / "README.md")))
    assert {p for p in listed if "/" not in p or p.startswith("policies")} >= {
        page_id(p) for p in PAGES if p.parent == DOCS and p.name != "README.md"
    } | {"policies/README.md"}
