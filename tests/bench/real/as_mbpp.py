"""Writes the questions of a HumanEval file as rows of MBPP: a description without its examples, and assertions.

    python -m tests.bench.real.as_mbpp HumanEval.jsonl.gz rows.jsonl
    ttsd problems pull mbpp --from rows.jsonl

A small model answers them with 40 to 100 tokens, where it repeats HumanEval's docstrings: three times cheaper runs.
"""

import ast
import gzip
import inspect
import json
import re
import sys
from pathlib import Path

from problems import humaneval
from problems.problem import ProblemError

EXAMPLES = re.compile(
    r"^.*\b(?:examples?|input/output|for instance)\b.*$|^\s*(?:>>>|\w+\(.*\)\s*(?:=|-|➞|should|#)).*$", re.I | re.M
)


def main(source: str, target: str) -> None:
    rows = []
    for line in gzip.decompress(Path(source).read_bytes()).splitlines():
        row = json.loads(line)
        try:
            problem = humaneval.problem(row, humaneval.question_id(row))
        except ProblemError:
            continue
        description = described(row["prompt"], row["entry_point"])
        tests = [
            f"assert {row['entry_point']}({', '.join(map(repr, map(json.loads, case.input.splitlines())))}) "
            f"== {json.loads(case.expected)!r}"
            for case in problem.cases
        ]
        rows.append(
            {"task_id": int(problem.name), "text": description, "test_list": tests, "code": humaneval.reference(row)}
        )
    Path(target).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    print(f"{len(rows)} questions")


def described(prompt: str, function: str) -> str:
    """What the docstring of `function` says before its first example, as one paragraph."""
    tree = ast.parse(prompt + "\n    pass\n")
    node = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    example = EXAMPLES.search(text)
    return " ".join((text[: example.start()] if example and example.start() > 40 else text).split())


if __name__ == "__main__":
    main(*sys.argv[1:])
