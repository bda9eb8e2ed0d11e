"""Writes MBPP's questions as folders whose statement lacks the example: only feedback says what the tests want.

    python -m tests.bench.bare_questions mbpp.jsonl --without mbpp_plus_bare.jsonl --out bare/ > bare.toml

The questions of `--without` (a file in LiveCodeBench's schema) are left out by id, by function name and by statement:
what is trained on must not meet what is tested on. stdout gets the subset.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
import re
import sys
from pathlib import Path

from problems import ProblemError, mbpp
from problems.values import any_length_integers

SAME_STATEMENT = 0.85  # of difflib's ratio over words; MBPP's own paraphrases are above it


def words(statement: str) -> list[str]:
    """Returns the words of a statement in lower case."""
    return re.findall(r"[a-z0-9]+", statement.lower())


def near(statement: list[str], others: list[list[str]]) -> bool:
    """Tells whether a statement is a paraphrase of one of `others`."""
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(statement)
    for other in others:
        matcher.set_seq1(other)
        if matcher.quick_ratio() >= SAME_STATEMENT and matcher.ratio() >= SAME_STATEMENT:
            return True
    return False


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
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    kept_out = [json.loads(line) for line in arguments.without.read_text("utf-8").splitlines()]
    ids = {row["question_id"] for row in kept_out}
    functions = {row["question_title"] for row in kept_out} | set(
        re.findall(r"def (\w+)", " ".join(row["starter_code"] for row in kept_out))
    )
    statements = [words(row["question_content"]) for row in kept_out]
    written, left_out = [], 0
    with any_length_integers():
        for line in arguments.rows.read_text("utf-8").splitlines():
            row = json.loads(line)
            name = f"mbpp-{row['task_id']}"
            mine = set(re.findall(r"def (\w+)", row["code"]))
            if name in ids or mine & functions or near(words(row["text"]), statements):
                left_out += 1
                continue
            try:
                write(row, arguments.out / name)
            except ProblemError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            written.append(str(arguments.out / name))
    random.Random(0).shuffle(written)
    print("questions =", json.dumps(written))
    print(f"{len(written)} questions, {left_out} left out because of {arguments.without}", file=sys.stderr)


if __name__ == "__main__":
    main()
