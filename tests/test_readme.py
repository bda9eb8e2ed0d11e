"""The README: what it shows runs as it stands; test_docs.py does this for the pages, and parses every command."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.commands import ROOT
from tests.pages import lines

LINES = lines(ROOT / "README.md")


def test_it_leads_to_a_result_on_the_first_screens() -> None:
    shown = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert shown.index("make demo") < 50
    assert "docs/tokens.png" in "".join(shown[:6])


def test_what_make_and_pip_are_asked_for_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {word for line in LINES for word in re.findall(r"^make (\w+)", line)} <= targets
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert {word for line in LINES for word in re.findall(r"\.\[(\w+)\]", line)} <= extras


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "AGENTS.md"])
def test_what_it_links_to_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(((?!http)[^)#]+)", text.replace("\n", " "))
    assert [link for link in links if not (ROOT / link).exists()] == []
    named = re.findall(r"`((?:ttsd|problems|sandbox|tests|docs|configs|tools|notes)/[\w./]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
