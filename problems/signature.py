"""Reads from a function's starter code what LeetCode's judge knows of it: linked lists, trees, results in place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NODE = re.compile(r"\b(?:ListNode|TreeNode)\b")
_MOST_TRIES = 50
IN_PLACE = "argument"


@dataclass(frozen=True, slots=True)
class Signature:
    """Says how arguments and results are converted from lists and to lists.

    Each text is empty, or names a class of nodes behind as many `[` as lists are around it: `ListNode`, `[TreeNode`.
    `returns` is "argument" where the result is what the call has made of its first argument.
    """

    arguments: tuple[str, ...] = ()
    returns: str = ""


def signature(starter_code: str, entry_point: str, expected: Iterable[str]) -> Signature:
    """Returns the signature of `entry_point`; `expected` are its results as JSON, null where it returns nothing."""
    function = _definition(starter_code, entry_point)
    if function is None:
        return Signature()
    parameters = [*function.args.posonlyargs, *function.args.args]
    arguments = tuple(_shape(parameter.annotation) for parameter in parameters if parameter.arg != "self")
    nothing = isinstance(function.returns, ast.Constant) and function.returns.value is None
    if nothing and arguments and any(text.strip() != "null" for text in expected):
        return Signature(arguments, IN_PLACE)
    return (
        Signature(arguments, _shape(function.returns)) if any((*arguments, _shape(function.returns))) else Signature()
    )


def _definition(starter_code: str, entry_point: str) -> ast.FunctionDef | None:
    """Returns the function's `def`, whose body is missing in most starter codes."""
    begin = re.search(rf"\bdef\s+{re.escape(entry_point)}\s*\(", starter_code)
    if begin is None:
        return None
    text = starter_code[begin.start() :]
    ends = [match.end() for match in re.finditer(":", text)][:_MOST_TRIES]
    for end in ends:
        try:
            statement = ast.parse(f"{text[:end]} pass").body[0]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return statement if isinstance(statement, ast.FunctionDef) else None
    return None


def _shape(annotation: ast.expr | None) -> str:
    text = ast.unparse(annotation) if annotation is not None else ""
    node = _NODE.search(text)
    return "[" * len(re.findall(r"\b[Ll]ist\[", text[: node.start()])) + node[0] if node else ""
