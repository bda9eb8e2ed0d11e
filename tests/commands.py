"""Running `ttsd` as a user does, and reading the database that it leaves."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SETTINGS = ["--config", "micro", "--set", "model.sampler=transformers", "--set", "sampling.group_size=4"]
GAPS = "select run from attempts group by run having count(*) != max(attempt) or min(attempt) != 1"
EACH = """
import contextlib, io, json, sys
from ttsd.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["ttsd", "problems", *command]
    status = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def ttsd(*arguments: str, cwd: Path = ROOT, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ttsd", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TTSD_CACHE": "/nonexistent", **environment},
        check=False,
    )


def refused(ended: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The one sentence of an error; nothing may be on stdout."""
    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert lines[-1].startswith("ttsd: ")
    assert "Traceback" not in ended.stderr
    return lines[-1]


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str

    def refusal(self) -> str:
        """The one sentence of a user's mistake."""
        assert (self.status, self.stdout) == (2, "")
        assert self.stderr.startswith("ttsd: ")
        assert self.stderr.count("\n") == 1
        return self.stderr


def ttsd_each(*commands: list[str], cwd: Path = ROOT, **environment: str) -> list[Ended]:
    """How each `ttsd problems COMMAND` ended. They share one process: starting Python is most of what they cost."""
    ended = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(commands)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [Ended(*json.loads(line)) for line in ended.stdout.splitlines()]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ttsd", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def finish(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate()
    return process.returncode, out, err


def rows(database: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def attempts(database: Path) -> int:
    try:
        return int(str(rows(database, "select count(*) from attempts")[0][0]))
    except sqlite3.OperationalError:
        return 0


def wait_for(process: subprocess.Popen[str], database: Path, count: int) -> None:
    """Until `count` attempts are on disk."""
    while attempts(database) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def group(process: subprocess.Popen[str]) -> list[str]:
    """What is alive in the session that `process` leads."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,cmd=", "-s", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def wait_until_gone(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while left := group(process):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
