"""The documentation says what is: pages build, commands and snippets run, settings exist, generated pages are new."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from tests.commands import ROOT, finish
from tests.pages import PAGES, blocks, commands, write_files
from ttsd.cli.commands import app
from ttsd.config import Config, load_config, shipped_configs
from ttsd.config.setting import section
from ttsd.record.store import Store

COMMANDS = sorted({(page.name, line) for page in PAGES for line in commands(page)})
# What needs a network, a GPU, a real model, rows that are not ours, a browser, or more than a minute.
ELSEWHERE = re.compile(
    r"lcb|mbpp|pull|export 3|http://|--ray|--hot-swap|warm-up|probe|view|fresh5|mine-hard| QUESTION"
    r"|solve .*-m |doctor .*-m "
)
RUN = {line: page for page, line in COMMANDS if not ELSEWHERE.search(line)}  # once, however many pages have it
SNIPPETS = [
    (page.name, code) for page in PAGES for code in blocks(page.read_text("utf-8"), "python") if "import ttsd\n" in code
]


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
def test_every_command_on_a_page_is_one_that_the_command_line_takes(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch")  # as a cluster does
    words = shlex.split(line)[1:]
    if words in (["--version"], ["-V"]):
        return
    values = parsed(words)
    configs = values.get("config") or []
    assert [name for name in configs if name not in shipped_configs() and not name.endswith(".toml")] == []  # type: ignore[attr-defined]
    if "set_" in values and set(configs) <= set(shipped_configs()):  # type: ignore[call-overload]
        load_config(configs, values["set_"] or [])  # type: ignore[arg-type]


def test_pages_have_commands_and_a_wrong_one_would_be_found() -> None:
    assert len(COMMANDS) > 20
    for wrong in (["solv", "x"], ["solve", "x", "--attempts", "5"], ["problems", "pul", "lcb"], ["solve"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            parsed(wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the question `double` of the README and of its page, and a run of four steps."""
    made: Path = tmp_path_factory.mktemp("pages")
    for page in (ROOT / "README.md", ROOT / "docs" / "own-questions.md"):
        assert {"statement.md", "cases.toml"} <= {path.name for path in write_files(page.read_text("utf-8"), made)}
    status, _, err = finish(
        *("solve", "micro:lists:6:61", "--method", "sdpo", "--budget", "32"),
        *("-s", "budget.continue_after_discovery=true"),
        cwd=made,
    )
    assert status in (0, 1), err
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("line", "page"), RUN.items())
def test_a_command_on_a_page_runs(line: str, page: str, folder: Path) -> None:
    words = shlex.split(line)[1:]
    dry = ["--dry-run"] if words[0] in ("solve", "batch", "demo") and "--json" not in words else []
    status, out, err = finish(*words, *dry, cwd=folder)
    assert status == 0 or (status, words[0]) in ((1, "solve"), (1, "judge"), (3, "doctor")), err
    assert out.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_a_python_snippet_runs_when_it_is_pasted_into_a_file(page: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "pasted.py").write_text(code, "utf-8")
    ended = subprocess.run(
        [sys.executable, "pasted.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, bool(ended.stdout.strip())) == (0, True), ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_their_language_and_settings_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for code in blocks(text, "python"):
        compile(code, page.name, "exec")
    for table in map(tomllib.loads, blocks(text, "toml")):
        if all(section(Config, name) and isinstance(value, dict) for name, value in table.items()):
            Config.model_validate(table)
    known = {f"{name}.{key}" for name in Config.model_fields for key in keys_of(name)}
    named = re.findall(r"`(?:--set )?(([a-z]+)\.[a-z_]+)(?:=[^`]*)?`", text if page.name != "settings.md" else "")
    assert {place for place, name in named if keys_of(name) and place not in known} == set()


def keys_of(name: str) -> set[str]:
    """The settings of a section; none if there is no such section."""
    kind = section(Config, name)
    return set(kind.model_fields) if kind else set()


def test_snippets_and_commands_that_run_are_found() -> None:
    assert {name for name, _ in SNIPPETS} == {"README.md", "python.md"}
    assert len(RUN) >= 12


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
    assert len(pages) >= len(list((ROOT / "docs").glob("*.md")))
    linked = {
        address
        for page in pages
        for address in re.findall(r'<(?:script|link)[^>]*(?:src|href)="(http[^"]*)"', page.read_text())
    }
    assert {address for address in linked if "fonts" in address or "cdn" in address or "unpkg" in address} == set()
