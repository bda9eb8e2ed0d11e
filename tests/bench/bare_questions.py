"""Writes MBPP's questions as folders whose statement lacks the example: only feedback says what the tests want.

    python -m tests.bench.bare_questions mbpp.jsonl --out bare/ > bare.toml

stdout gets the subset. `ttsd warm-up --exclude` leaves out what is tested on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from problems import ProblemError, mbpp


def write(row: dict[str, object], folder: Path) -> None:
    """Writes one question; the first two cases are public and the others hidden."""
    question = mbpp.problem(row, folder.name)
    folder.mkdir(parents=True)
    statement = question.statement.partition("\n\nFor example:")[0]
    (folder / "statement.md").write_text(statement + "\n", "utf-8")
    (folder / "starter.py").write_text(question.starter_code, "utf-8")
    names = f'entry_point = "{question.entry_point}"\ntitle = "{question.title}"\n'
    (folder / "problem.toml").write_text(names + 'public_cases = ["000", "001"]\n', "utf-8")
    (folder / "solution.py").write_text(mbpp.reference(row).replace("\r\n", "\n"), "utf-8")
    (folder / "cases").mkdir()
    for at, case in enumerate(question.cases):
        (folder / "cases" / f"{at:03}.in").write_text(case.input, "utf-8")
        (folder / "cases" / f"{at:03}.out").write_text(case.expected, "utf-8")


def main() -> None:
    """Writes the folders that can be used, and the subset in a random order of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    written = []
    for line in arguments.rows.read_text("utf-8").splitlines():
        row = json.loads(line)
        folder = arguments.out / f"mbpp-{row['task_id']}"
        try:
            write(row, folder)
        except ProblemError as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
        else:
            written.append(str(folder))
    random.Random(0).shuffle(written)
    print("questions =", json.dumps(written))


if __name__ == "__main__":
    main()
