"""Runs the evidence for one real model: screening, warm-up, methods with and without the adapter, report.

    python -m tests.bench.gpu_campaign mbpp.jsonl mbpp_plus_bare.jsonl -m Qwen/Qwen3-4B --out campaign --dry-run
    python -m tests.bench.gpu_campaign mbpp.jsonl mbpp_plus_bare.jsonl -m Qwen/Qwen3-4B --out campaign

Each line that it prints is a command of `ttsd` and can be run alone; all resume, and so does this script. Test
questions are the first `--questions` in the file's order that 16 independent attempts did not solve; the warm-up never
meets them. After the screening it prints how long the rest takes at the pace that was measured. The control, shuffled
feedback, runs for the methods that find more questions than best-of-k: nobody should believe these without it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from problems.subsets import questions

BASELINE = "best-of-k"
METHODS = (BASELINE, "multi-turn", "search", "sdpo", "multi-turn+sdpo", "search+grpo")
SCREENED = 16  # independent attempts on each question
DISCOVERED = "select distinct question from runs where discovery_attempt is not null"
SPENT = "select count(*), (julianday(max(created)) - julianday(min(created))) * 24 from attempts"


def main(words: Sequence[str] | None = None) -> None:
    """Runs all parts; a part that fails ends the script with its exit status."""
    asked = _arguments(words)
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    _prepare(asked.training, out)
    screen = out / "screen.sqlite"
    settings = ["-m", asked.model, *(word for file in asked.config for word in ("-c", file))]
    batch = ["batch", str(asked.testing), *settings, "--methods", BASELINE, "--budget", str(SCREENED)]
    _ttsd(asked, *batch, *_store(screen))
    if not screen.exists():
        tests = out / "test.toml"  # --dry-run on an empty folder shows the later commands, too
    else:
        tests = _unsolved(asked.testing, screen, out / "test.toml", asked.questions)
        _plan(screen, asked)
    adapter = out / "adapter"
    learning = ["warm-up", str(out / "train.toml"), "--exclude", str(asked.testing), "--out", str(adapter), *settings]
    _ttsd(asked, *learning, "--pairs", str(asked.pairs), "--licence", "CC-BY-4.0", *_store(out / "warm-up.sqlite"))
    for name, init in {"without": [], "with": ["--set", f"lora.init={adapter}"]}.items():
        store = out / f"{name}.sqlite"
        common = ["batch", str(tests), *settings, *init, *_store(store), "--seeds", str(asked.seeds)]
        common += ["--budget", str(asked.attempts)]
        _ttsd(asked, *common, "--methods", ",".join(METHODS))
        for method in winners(store) if store.exists() else ():
            _ttsd(asked, *common, "--methods", method, "--set", "judge.shuffle_feedback=true")
        _ttsd(asked, "report", str(out / name), *_store(store))


def winners(store: Path) -> list[str]:
    """Returns the methods that show feedback and found more questions than best-of-k did."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "select method, count(distinct iif(discovery_attempt is null, null, question)) from runs "
            "where not json_extract(config, '$.judge.shuffle_feedback') group by method"
        )
        found: dict[str, int] = dict(rows)
    return [method for method in METHODS if found.get(method, 0) > found.get(BASELINE, 0)]


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="MBPP's rows, for the warm-up")
    parser.add_argument("testing", type=Path, help="questions in LiveCodeBench's schema")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("campaign"))
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--attempts", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--dry-run", action="store_true", help="print the commands alone")
    return parser.parse_args(words)


def _prepare(training: Path, out: Path) -> None:
    """Writes the questions of the warm-up, once."""
    subset = out / "train.toml"
    if subset.exists():
        return
    script = [sys.executable, "-m", "tests.bench.bare_questions", str(training), "--out", str(out / "train")]
    text = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout
    subset.write_text(text, "utf-8")


def _ttsd(asked: argparse.Namespace, *words: str) -> None:
    """Prints a command, and runs it."""
    print(shlex.join(["ttsd", *words]), flush=True)
    if asked.dry_run:
        return
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", "ttsd", *words], check=False)
    print(f"# {(time.monotonic() - begun) / 60:.1f} min", flush=True)
    if ended.returncode:
        sys.exit(ended.returncode)


def _unsolved(testing: Path, screen: Path, subset: Path, count: int) -> Path:
    """Writes the first `count` questions without a discovery as a subset, and the others as one to tune on."""
    with closing(sqlite3.connect(f"file:{screen}?mode=ro", uri=True)) as database:
        solved = {question for (question,) in database.execute(DISCOVERED)}
    left = [name for name in questions([str(testing)]) if name not in solved]
    for file, names in ((subset, left[:count]), (subset.with_name("tuning.toml"), left[count:])):
        file.write_text(f"questions = {json.dumps(names)}\n", "utf-8")
    print(f"# {len(left)} questions without a discovery in {SCREENED} attempts: {subset} has {len(left[:count])}")
    return subset


def _plan(screen: Path, asked: argparse.Namespace) -> None:
    """Prints what the table takes at the screening's pace, and twice that: steps and long prompts cost more."""
    with closing(sqlite3.connect(f"file:{screen}?mode=ro", uri=True)) as database:
        attempts, hours = database.execute(SPENT).fetchone()
    wanted = 2 * len(METHODS) * asked.questions * asked.seeds * asked.attempts
    at_pace = hours / max(attempts, 1) * wanted
    print(f"# the table: at most {wanted} attempts, {at_pace:.1f} to {2 * at_pace:.1f} h")


def _store(database: Path) -> list[str]:
    return ["--set", f"store.path={database}"]


if __name__ == "__main__":
    main()
