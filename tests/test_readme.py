"""The README's commands, run as they stand; those that need a GPU or a network are parsed by test_docs.py."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.commands import ROOT, finish

README = (ROOT / "README.md").read_text("utf-8")
LINES = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
    for line in block.splitlines()
]
ELSEWHERE = ("--hot-swap", "problems pull", "probe lcb", "solve lcb")  # a GPU, a network, LiveCodeBench's rows
RUN = [line for line in LINES if line.startswith("ttsd ") and not any(part in line for part in ELSEWHERE)]


def test_it_is_short_and_leads_to_a_result_on_the_first_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines.index("make demo     # about 2 minutes, most of them for 1.7 GB of packages") < 24


def test_some_commands_are_run() -> None:
    assert len(RUN) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN)
def test_a_command_works(line: str, tmp_path: Path) -> None:
    status, out, err = finish(*shlex.split(line)[1:], cwd=tmp_path)
    assert status == 0, err
    assert out.strip()


def test_what_make_and_pip_are_asked_for_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {word for line in LINES for word in re.findall(r"^make (\w+)", line)} <= targets
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert {word for line in LINES for word in re.findall(r"\.\[(\w+)\]", line)} <= extras
    named = README.partition("Extras: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", named)) - {"make"} == extras


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_it_links_to_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(((?!http)[^)#]+)", text.replace("\n", " "))
    assert [link for link in links if not (ROOT / link).exists()] == []
    named = re.findall(r"`((?:ttsd|problems|sandbox|tests|docs|configs)/[\w./]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
