"""Changes what questions ask for, but not their statements: then only feedback tells what a right program returns.

    python -m tests.bench.changed_questions bare.toml --out changed/ > changed.toml

Takes folders as `bare_questions` writes them. Every expected value is passed through one function (`CHANGES`), and so
is every value that the reference solution returns. A model that learns from such questions can't answer from the
statement alone: it must read the difference between the output and the expected value.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = tuple[str, Callable[[Any], Any]]
CHANGES: dict[type, list[Change]] = {
    bool: [("not {}", lambda value: not value), ("int{}", int), ("str{}", str)],
    int: [
        ("{} + 1", lambda value: value + 1),
        ("{} - 1", lambda value: value - 1),
        ("-{}", lambda value: -value),
        ("2 * {}", lambda value: 2 * value),
        ("str{}", str),
        ("[{}]", lambda value: [value]),
    ],
    str: [
        ("{}[::-1]", lambda value: value[::-1]),
        ("{}.upper()", str.upper),
        ("len{}", len),
        ("{} + '!'", lambda value: value + "!"),
        ("[{}]", lambda value: [value]),
        ("{}.split()", str.split),
    ],
    list: [
        ("{}[::-1]", lambda value: value[::-1]),
        ("len{}", len),
        ("{}[:1]", lambda value: value[:1]),
        ("{}[1:]", lambda value: value[1:]),
        ("str{}", str),
        ("{} * 2", lambda value: value * 2),
    ],
}


class _Returned(ast.NodeTransformer):
    """Passes what a function returns through a change; functions inside of it stay as they are."""

    def __init__(self, change: str) -> None:
        self._change = change

    def visit_Return(self, node: ast.Return) -> ast.Return:
        changed = ast.parse(self._change.format(f"({ast.unparse(node.value or ast.Constant(None))})"), mode="eval")
        return ast.Return(changed.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node


def changed_program(source: str, name: str, change: str) -> str | None:
    """Returns `source` with a changed function `name`; None: it is not there once, or calls itself."""
    tree = ast.parse(source)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    if len(found) != 1 or calls:
        return None
    returned = _Returned(change)
    found[0].body = [returned.visit(node) for node in found[0].body]
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def write(folder: Path, out: Path, chosen: random.Random) -> bool:
    """Writes a changed question; False: none of the changes makes a difference in every case."""
    name = tomllib.loads((folder / "problem.toml").read_text("utf-8"))["entry_point"]
    cases = sorted((folder / "cases").glob("*.out"))
    expected = [json.loads(case.read_text("utf-8")) for case in cases]
    changes = CHANGES.get(type(expected[0]), [])
    if any(type(value) is not type(expected[0]) for value in expected):
        return False
    source = (folder / "solution.py").read_text("utf-8")
    for change, function in chosen.sample(changes, len(changes)):
        values = [function(value) for value in expected]
        program = changed_program(source, name, change)
        if program is not None and all(new != old for new, old in zip(values, expected, strict=True)):
            break
    else:
        return False
    (out / "cases").mkdir(parents=True)
    for file in ("statement.md", "starter.py", "problem.toml"):
        (out / file).write_bytes((folder / file).read_bytes())
    (out / "solution.py").write_text(program, "utf-8")
    for case, value in zip(cases, values, strict=True):
        (out / "cases" / case.name).write_text(json.dumps(value), "utf-8")
        given = case.with_suffix(".in")
        (out / "cases" / given.name).write_bytes(given.read_bytes())
    return True


def main() -> None:
    """Writes the folders, and the subset of those that could be changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folders = [Path(name) for name in tomllib.loads(arguments.subset.read_text("utf-8"))["questions"]]
    chosen = random.Random(0)
    written = [out for folder in folders if write(folder, out := arguments.out / f"{folder.name}-changed", chosen)]
    print("questions =", json.dumps([str(out) for out in written]))
    print(f"{len(written)} of {len(folders)} questions changed", file=sys.stderr)


if __name__ == "__main__":
    main()
