"""Kills `ttsd solve` and `ttsd batch` at random moments, starts them again, and checks the record after each death.

    python -m tests.bench.kill_many [--kills 30] [--vllm-kills 4] [--seed 0] [--folder DIR]

After each `kill -9`: every attempt that was on disk before is there unchanged, numbers have no gap but those of the
group that was being drawn, each step follows the one before it, and the learner's state that the last step names is on
disk, its bytes as they were when they were first seen. At the end the commands run to their end: every attempt once, no
run twice. Moments are drawn uniformly from the time that a start of the command takes and the first turns of the loop,
so that deaths fall into loading, sampling, judging, distilling, saving and swapping alike.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from problems import micro

ROOT = Path(__file__).parents[2]
SETTINGS = ("--config", "micro-cpu", "--set", "sampling.group_size=4")
Rows = list[tuple[Any, ...]]


@dataclass
class Scene:
    """A command in a folder of its own, killed again and again."""

    folder: Path
    command: Sequence[str]
    attempts: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    states: dict[tuple[int, int], str] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)

    def start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stderr.txt").open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "ttsd", *self.command],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def kill(self, moment: float, spread: float) -> None:
        """`moment`, from 0 to 1: below a fifth while it loads, else within `spread` seconds of its first new row."""
        process = self._at(moment, spread)
        ended = process.poll()
        process.kill()
        process.wait()
        assert ended in (None, 0, 1), f"it had ended by itself with {ended}: {self.folder / 'stderr.txt'}"
        self.check()

    def stop(self, moment: float, spread: float, number: int = signal.SIGTERM) -> float:
        """As `kill`, but the whole process group is asked to stop; how many seconds it took."""
        process = self._at(moment, spread)
        if process.poll() is None:
            os.killpg(process.pid, number)
        start = time.monotonic()
        status = process.wait(timeout=120)
        seconds = time.monotonic() - start
        said = (self.folder / "stderr.txt").read_text().splitlines()[-1:]
        if status not in (0, 1):  # it had come to its end
            assert status == 128 + number, f"exit status {status}: {self.folder / 'stderr.txt'}"
            assert said in (["ttsd: stopped"], ["ttsd: stopped; everything is on disk, and the same command resumes"])
        self.check()
        return seconds

    def _at(self, moment: float, spread: float) -> subprocess.Popen[bytes]:
        """The command, started and come to `moment`."""
        process, known = self.start(), self._count()
        if moment < 0.2:
            time.sleep(moment * 25)
        else:
            while self._count() == known and process.poll() is None:
                time.sleep(0.01)
            time.sleep((moment - 0.2) / 0.8 * spread)
        return process

    def finish(self) -> None:
        process = self.start()
        assert process.wait() in (0, 1), self.folder / "stderr.txt"
        self.check()
        assert not self.rows("select run from runs where status = 'running'")
        assert not self.rows("select run from attempts group by run having count(*) != max(attempt)")

    def check(self) -> None:
        """What was on disk is there unchanged, and what is there hangs together."""
        found = self._attempts()
        lost = [key for key, row in self.attempts.items() if found.get(key) != row]
        assert not lost, f"attempts that are gone or changed: {lost}"
        self.attempts = found
        # A run that has come to its end may be asked for anew; one that was broken off is gone on with.
        assert not self.rows(
            "select seed from runs where status = 'running' group by question, method, seed, "
            "json_extract(config, '$.reprompt.multi_turn_window') having count(*) > 1"
        )
        self._check_steps()
        self.phases[self._phase()] += 1

    def _attempts(self) -> dict[tuple[int, int], tuple[Any, ...]]:
        rows = self.rows("select run, attempt, adapter_version, verdict, token_ids, created from attempts")
        assert len(rows) == len({row[:2] for row in rows}), "an attempt is there twice"
        return {(row[0], row[1]): row for row in rows}

    def _check_steps(self) -> None:
        steps = self.rows("select run, step, first_attempt, attempts, adapter_version, state from steps order by 1, 2")
        ends: dict[int, tuple[int, int, int]] = {}
        for run, step, first, attempts, version, state in steps:
            last_step, last_attempt, last_version = ends.get(run, (0, 0, 0))
            assert (step, first) == (last_step + 1, last_attempt + 1), f"run {run} has a gap at step {step}"
            assert version - last_version in (0, 1), f"run {run}, step {step}: version {version}"
            drawn = {self.attempts[run, number][2] for number in range(first, first + attempts)}
            assert drawn <= {last_version}, f"run {run}, step {step} was drawn from versions {drawn}"
            ends[run] = step, first + attempts - 1, version
            if state is not None:
                self._check_state(run, step, state, newest=steps)

    def _check_state(self, run: int, step: int, state: str, newest: Rows) -> None:
        file = self.folder / "ttsd.sqlite.state" / f"run-{run}" / state / "state.safetensors"
        is_last = step == max(row[1] for row in newest if row[0] == run)
        assert file.is_file() or not is_last, f"{file} is gone"
        if file.is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert self.states.setdefault((run, step), digest) == digest, f"{file} has changed"

    def _phase(self) -> str:
        """Where death struck, as far as the record shows it."""
        drafts = list((self.folder / "ttsd.sqlite.state").glob("run-*/.step-*"))
        if drafts:
            return "saving"
        done = "(select coalesce(sum(s.attempts), 0) from steps s where s.run = a.run)"
        open_attempts = self.rows(f"select run, count(*) from attempts a where attempt > {done} group by run")
        if not open_attempts:
            return "loading, or between steps"
        return "distilling" if any(count == 4 for _, count in open_attempts) else "sampling and judging"

    def _count(self) -> int:
        rows = self.rows("select count(*) from attempts")
        return int(rows[0][0]) if rows else 0

    def rows(self, sql: str) -> Rows:
        path = self.folder / "ttsd.sqlite"
        if not path.is_file():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            try:
                return db.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise


def scenes(folder: Path, sampler: str, budget: int) -> list[Scene]:
    """A solve, a batch and a probe. best-of-k and continue_after_discovery make their length known."""
    first, second = micro.subset("micro-very-hard")[:2]
    settings = [*SETTINGS, "--set", f"model.sampler={sampler}", "--set", f"budget.attempts={budget}"]
    settings += ["--set", "budget.continue_after_discovery=true"]
    return [
        Scene(folder / f"{sampler}-solve", ["solve", first, *settings]),
        Scene(
            folder / f"{sampler}-batch",
            ["batch", first, second, "--methods", "sdpo,grpo,best-of-k,multi-turn", "--at-once", "5", *settings],
        ),
        Scene(folder / f"{sampler}-probe", ["probe", first, second, "--teacher-samples", "4", *settings]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--vllm-kills", type=int, default=4, help="of these, with vLLM; the others with transformers")
    parser.add_argument("--budget", type=int, default=400, help="attempts of each run")
    parser.add_argument("--spread", type=float, default=4.0, help="seconds after the first new attempt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ttsd-kills-"))
    chance = random.Random(options.seed)
    print(f"in {folder}")
    for sampler, kills in (("transformers", options.kills - options.vllm_kills), ("vllm", options.vllm_kills)):
        pair = scenes(folder, sampler, options.budget)
        for number in range(kills):
            scene = pair[number % 2]
            scene.kill(chance.random(), options.spread)
            print(f"{sampler} kill {number + 1}: {len(scene.attempts)} attempts, {dict(scene.phases)}", flush=True)
        for scene in pair[: min(kills, 2)]:
            scene.finish()
            print(f"{scene.folder.name}: finished with {len(scene.attempts)} attempts", flush=True)


if __name__ == "__main__":
    main()
