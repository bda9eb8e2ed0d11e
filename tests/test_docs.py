"""The documentation says what is: pages build, commands parse, settings and columns exist, generated pages are new."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from tests.commands import ROOT
from ttsd.cli.commands import app
from ttsd.config import load_config, shipped_configs
from ttsd.record.store import Store

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        (page.name, line.partition("#")[0].strip())
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        for line in block.splitlines()
        if line.startswith("ttsd ")
    }
)


def parsed(words: list[str]) -> dict[str, object]:
    """A command line's values, or typer's complaint; nothing runs."""
    command = typer.main.get_command(app)
    context = command.make_context("ttsd", words[:1], resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        context.resilient_parsing = False  # that was for the group's own arguments
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(
            name, list(words), parent=context, resilient_parsing=hasattr(command, "commands")
        )
    return dict(context.params)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_on_a_page_is_one_that_the_command_line_takes(page: str, line: str) -> None:
    words = shlex.split(line.partition(">")[0])[1:]
    if words in (["--version"], ["-V"]):
        return
    values = parsed(words)
    configs = values.get("config") or []
    if "set_" in values and set(configs) <= set(shipped_configs()):  # type: ignore[call-overload]
        load_config(configs, values["set_"] or [])  # type: ignore[arg-type]


def test_pages_have_commands_and_a_wrong_one_would_be_found() -> None:
    assert len(COMMANDS) > 20
    for wrong in (["solv", "x"], ["solve", "x", "--attempts", "5"], ["problems", "pul", "lcb"], ["solve"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            parsed(wrong)


def test_commands_are_described_as_they_are() -> None:
    documented = subprocess.run(
        [sys.executable, "-m", "typer", "ttsd.cli.commands", "utils", "docs", "--name", "ttsd", "--title", "Commands"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert page.strip() == documented.stdout.strip(), "run: make reference"


def test_the_database_page_names_every_column(tmp_path: Path) -> None:
    Store(tmp_path / "a.sqlite").close()
    page = (ROOT / "docs" / "database.md").read_text("utf-8")
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        for table in ("runs", "steps", "prompts", "attempts", "examples", "run_summary", "question_summary"):
            assert f"## {table}" in page or f"`{table}`" in page
            columns = {row[1] for row in db.execute(f"pragma table_info({table})")}
            assert {column for column in columns if f"`{column}`" not in page} == set()


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: pip install .[docs]")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    linked = {
        address
        for page in pages
        for address in re.findall(r'<(?:script|link)[^>]*(?:src|href)="(http[^"]*)"', page.read_text())
    }
    assert {address for address in linked if "fonts" in address or "cdn" in address or "unpkg" in address} == set()
