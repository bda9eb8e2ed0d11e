"""Running `ttsd` as a user does, and reading the database that it leaves."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cache
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


# One process imports what commands import, and each command is a fork of it: importing is most of what a command costs.
# Commands that are killed or stopped, and those with an environment of their own, start as a user's do (`start`).
PREPARED = """
import gc, json, os, sys
from ttsd.cli.start import yield_cores_soon
yield_cores_soon()
import transformers.models.auto.modeling_auto, transformers.models.auto.tokenization_auto
import transformers.models.qwen3.modeling_qwen3
import ttsd.cli.commands, ttsd.training.trainer, ttsd.sampling.transformers_sampler, ttsd.running.batch
from ttsd.cli import main
gc.freeze()
for line in sys.stdin:
    arguments, cwd, environment, streams = json.loads(line)
    if not (child := os.fork()):
        os.setsid()
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        for number, path in enumerate(streams):
            os.dup2(os.open(path, os.O_RDWR), number)
        sys.argv = ["ttsd", *arguments]
        main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Prepared:
    """A process that has imported what commands import, in the environment of the tests."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PREPARED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**self.environment, "PYTHONPATH": str(ROOT)},
        )

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: dict[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """Returns how the command ended, as `subprocess.run` does."""
        server_in, server_out = self._process.stdin, self._process.stdout
        assert server_in
        assert server_out
        with tempfile.TemporaryDirectory(prefix="ttsd-test-") as folder:
            streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
            for path, text in zip(streams, (stdin, "", ""), strict=True):
                path.write_text(text, "utf-8")
            server_in.write(json.dumps([arguments, str(cwd), environment, [str(path) for path in streams]]) + "\n")
            server_in.flush()
            status = int(server_out.readline())
            out, err = (path.read_text("utf-8") for path in streams[1:])
        return subprocess.CompletedProcess(["ttsd", *arguments], status, out, err)


@cache
def prepared() -> Prepared:
    return Prepared()


def ttsd(*arguments: str, cwd: Path = ROOT, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    used = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TTSD_CACHE": "/nonexistent", **environment}
    late = all(name.startswith(("OPENAI_", "TTSD_")) for name in environment)  # read by a command, not by an import
    if late and prepared().environment == os.environ:
        return prepared().run(arguments, cwd, used, stdin)
    return subprocess.run(
        [sys.executable, "-m", "ttsd", *arguments],
        cwd=cwd, input=stdin, capture_output=True, text=True, env=used, check=False,
    )  # fmt: skip


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
    ended = ttsd(*arguments, cwd=cwd)
    return ended.returncode, ended.stdout, ended.stderr


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
