"""Breaks `ttsd solve`, `batch` and `probe` off in every phase, starts them again, and checks the database each time.

    python -m tests.bench.scene kill|stop [--times 30] [--vllm-times 15] [--budget 64] [--seed 0] [--folder DIR]

`kill`: SIGKILL to the command. `stop`: SIGTERM to its whole process group, as `timeout`, schedulers and `docker stop`
send it (each fifth time SIGINT, as Ctrl-C); it must say one sentence and end with 143 (130).

Every attempt that was on disk before is there unchanged, numbers have no gap but those of the group that was being
sampled, each step follows the one before it, and the learner's state that the last step names is on disk, its bytes as
they were when they were first seen. At the end the commands run to their end: every attempt once, no run twice.
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
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from problems import micro

ROOT = Path(__file__).parents[2]
GROUP = 4
SETTINGS = ("--config", "micro", "--set", f"sampling.group_size={GROUP}")
PHASES = ("loading", "sampling", "judging", "learning", "saving")
# Runs that learn and have sampled a group whose step is not recorded yet.
COMPLETE = f"""select run from attempts a join runs using (run) where (method glob '*sdpo' or method glob '*grpo')
    and status = 'running' and attempt > (select coalesce(sum(attempts), 0) from steps s where s.run = a.run)
    group by run having count(*) = {GROUP}"""
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Broken:
    """How a command was broken off. `hit`: it was still in that phase when the signal had been sent."""

    phase: str
    hit: bool
    status: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.phase if self.hit else 'just after ' + self.phase}, status {self.status} after {self.seconds:.1f} s"
        )


@dataclass
class Scene:
    """A command in a folder of its own, broken off again and again."""

    folder: Path
    command: Sequence[str]
    attempts: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    states: dict[tuple[int, int], str] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    phases: Sequence[str] = PHASES
    _heard: int = 0  # how much it had said before it was started last
    _old_drafts: set[Path] = field(default_factory=set)

    @property
    def said(self) -> Path:
        return self.folder / "stderr.txt"

    def _start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.said.open("ab") as stderr:
            self._heard, self._old_drafts = stderr.tell(), self._drafts()
            return subprocess.Popen(
                [sys.executable, "-m", "ttsd", *self.command],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def break_off(self, phase: str, strike: Callable[[subprocess.Popen[bytes]], None], seconds: float = 0.0) -> Broken:
        """Starts the command and strikes it in `phase`, or `seconds` later; then looks at what it left on disk.

        AssertionError: it ends without having been there, or lives on for two minutes.
        """
        process = self._start()
        while not self._is(phase, process.pid):
            assert process.poll() is None, f"it ended before it was {phase}: {self.said}"
            time.sleep(0.001)
        time.sleep(seconds)
        strike(process)
        began, hit = time.monotonic(), self._is(phase, process.pid)
        status = process.wait(timeout=120)
        self._check()
        self.hits[phase] += hit
        return Broken(phase, hit, status, time.monotonic() - began)

    def finish(self) -> None:
        assert self._start().wait() in (0, 1), self.said
        self._check()
        assert not self.rows("select run from runs where status = 'running'")
        assert not self.rows("select run from attempts group by run having count(*) != max(attempt)")

    def _check(self) -> None:
        """What was on disk is there unchanged, and what is there hangs together."""
        found = self._attempts()
        lost = [key for key, row in self.attempts.items() if found.get(key) != row]
        assert not lost, f"attempts that are gone or changed: {lost}"
        self.attempts = found
        # A run that has come to its end may be asked for again; one that was broken off is resumed.
        assert not self.rows("select 1 from runs where status = 'running' group by fingerprint having count(*) > 1")
        self._check_steps()

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
            versions = {self.attempts[run, number][2] for number in range(first, first + attempts)}
            assert versions <= {last_version}, f"run {run}, step {step} was sampled from versions {versions}"
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

    def _is(self, phase: str, process: int) -> bool:
        """Several can be under way at once: of other runs, or a state is written while the next group is sampled.

        sampling: nothing else is.
        """
        if phase == "loading" or not self._is_ready():
            words = self._new_words()
            return phase == "loading" and not self._is_ready() and (b"memory: " in words or b"to sample" in words)
        saving = {draft.parent.name for draft in self._drafts() - self._old_drafts}
        if phase == "saving":
            return bool(saving)
        judging = bool(_grandchildren(process))
        if phase == "judging":
            return judging
        learning = {f"run-{run}" for (run,) in self.rows(COMPLETE)} - saving
        return bool(learning) if phase == "learning" else not (saving or judging or learning)

    def _drafts(self) -> set[Path]:
        """Learner states that are being written, or were when the command was killed."""
        return set(self.folder.glob("ttsd.sqlite.state/run-*/.step-*"))

    def _is_ready(self) -> bool:
        return b"\nready" in self._new_words()

    def _new_words(self) -> bytes:
        with self.said.open("rb") as file:
            file.seek(self._heard)
            return b"\n" + file.read()

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
        Scene(
            folder / f"{sampler}-probe",
            ["probe", first, second, "--feedback-samples", "4", *settings],
            phases=PHASES[:3],
        ),
    ]


def _grandchildren(process: int) -> list[int]:
    """Programs that are being judged: each is a child of one of the sandbox's zygotes, our children."""
    parents = dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended just now
            parents[int(stat.parent.name)] = int(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
    children = {pid for pid, parent in parents.items() if parent == process}
    return [pid for pid, parent in parents.items() if parent in children]


def kill(scene: Scene, phase: str, seconds: float = 0.0, number: int = 0) -> Broken:
    """Kills the command of a scene in a phase, or so many seconds later, for the `number`th time."""
    broken = scene.break_off(phase, subprocess.Popen.kill, seconds)
    assert broken.status in (-signal.SIGKILL, 0, 1), f"it had ended by itself with {broken.status}: {scene.said}"
    return broken


def stop(scene: Scene, phase: str, seconds: float = 0.0, number: int = 0) -> Broken:
    """Asks it to stop instead."""
    wanted = signal.SIGINT if number % 5 == 4 else signal.SIGTERM
    broken = scene.break_off(phase, lambda process: os.killpg(process.pid, wanted), seconds)
    assert broken.status == 128 + wanted, f"exit status {broken.status}: {scene.said}"
    (*_, last) = scene.said.read_text().splitlines()
    assert last in ("ttsd: stopped", "ttsd: stopped; everything is on disk, and the same command resumes"), last
    return broken


def main() -> None:
    """Breaks commands off again and again, each in the phase in which it was least often; then lets them end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strike", choices=["kill", "stop"])
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--vllm-times", type=int, default=15, help="of these, with vLLM; the others with transformers")
    parser.add_argument("--budget", type=int, default=64, help="attempts of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    strike = kill if options.strike == "kill" else stop
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ttsd-broken-off-"))
    chance = random.Random(options.seed)
    print(f"in {folder}")
    for sampler, times in (("transformers", options.times - options.vllm_times), ("vllm", options.vllm_times)):
        three = scenes(folder, sampler, options.budget)
        for number in range(times):
            scene = three[number % 3]
            phase = min(scene.phases, key=scene.hits.__getitem__)
            # Loading takes seconds, the others less: these are struck the moment they are seen.
            broken = strike(scene, phase, 8 * chance.random() if phase == "loading" else 0.0, number)
            print(f"{scene.folder.name} {number + 1}: {broken}, {len(scene.attempts)} attempts", flush=True)
        for scene in three[: min(times, 3)]:
            scene.finish()
            print(f"{scene.folder.name}: finished, {len(scene.attempts)} attempts, {dict(scene.hits)}", flush=True)


if __name__ == "__main__":
    main()
