"""Completion by the shells' own protocol: a process that is asked through the environment and answers on stdout."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from problems import micro, subsets
from tests.commands import ROOT

ASK = """
import sys
from ttsd.cli import main
sys.argv = ["ttsd"]
try:
    main()
finally:
    heavy = {"torch", "transformers", "vllm", "datasets", "sqlite_utils", "ttsd.loop"} & set(sys.modules)
    print(sorted(heavy), file=sys.stderr)
"""
VERY_HARD = micro.subset("micro-very-hard")[0]


def answered(folder: Path, **environment: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "TTSD_CACHE": str(folder / "cache"), "PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    assert ended.stderr == "[]\n"
    return ended.stdout.splitlines()


def in_bash(folder: Path, *words: str) -> list[str]:
    """What bash is told of the last of `words`."""
    at = str(len(words) - 1)
    return answered(folder, _TTSD_COMPLETE="complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=at)


def in_fish(folder: Path, line: str) -> list[str]:
    said = answered(
        folder, _TTSD_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args", _TYPER_COMPLETE_ARGS=line
    )
    return [one for one in said if one]


def test_bundled_questions_are_completed(tmp_path: Path) -> None:
    assert in_fish(tmp_path, f"ttsd solve {VERY_HARD[:-1]}")[0].startswith(VERY_HARD[:-1])
    assert VERY_HARD in in_fish(tmp_path, "ttsd problems show micro:")


@pytest.mark.parametrize("command", ["batch", "probe", "problems list", "problems check"])
def test_subsets_are_completed(tmp_path: Path, command: str) -> None:
    assert in_bash(tmp_path, "ttsd", *command.split(), "lcb-paper-v") == ["lcb-paper-very-hard"]


def test_every_shipped_subset_and_configuration_is_offered(tmp_path: Path) -> None:
    assert set(subsets.shipped()) <= set(in_bash(tmp_path, "ttsd", "batch", ""))
    assert in_bash(tmp_path, "ttsd", "solve", "x", "--model", "Qwen/Qwen3-0") == ["Qwen/Qwen3-0.6B"]
    assert "micro" in in_bash(tmp_path, "ttsd", "config", "show", "-c", "")


def test_pulled_questions_and_those_of_the_record_are_completed(tmp_path: Path) -> None:
    index = {"format": 1, "scheme": "lcb", "origin": "o", "revision": "", "release": "", "pulled": "", "entries": []}
    for name, file in (("abc301_a", "a.json"), ("abc302_b", "")):  # the second one can't be used
        index["entries"].append({"question_id": name, "row": 0, "file": file})  # type: ignore[attr-defined]
    (tmp_path / "cache" / "lcb").mkdir(parents=True)
    (tmp_path / "cache" / "lcb" / "index.json").write_text(json.dumps(index))
    with closing(sqlite3.connect(tmp_path / "ttsd.sqlite")) as record:
        record.execute("create table runs (question)")
        record.execute("insert into runs values ('lcb:abc399_g')")
        record.commit()
    assert in_fish(tmp_path, "ttsd solve lcb:") == ["lcb:abc301_a", "lcb:abc399_g"]
    assert "lcb" in in_bash(tmp_path, "ttsd", "batch", "lc")


def test_what_is_damaged_completes_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache" / "lcb").mkdir(parents=True)
    (tmp_path / "cache" / "lcb" / "index.json").write_text("{")
    (tmp_path / "ttsd.sqlite").write_bytes(b"no database at all, but long enough to be one" * 9)
    assert in_fish(tmp_path, "ttsd solve lcb:") == []
