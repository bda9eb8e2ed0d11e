"""Right programs of other authors, as the sources of questions have them, in the form in which a model would answer."""

from __future__ import annotations

import ast
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import problems
from ttsd.config import Config
from ttsd.judging.by_hand import judge_batch
from ttsd.nouns import Problem


async def references(questions: Iterable[Problem], config: Config) -> AsyncGenerator[tuple[str, str], None]:
    """Yields the names of those questions whose source has a program that the judge accepts, with that program."""
    programs = {one.name: tidy(text, one) for one in questions if (text := problems.reference(one.name)) is not None}
    async with aclosing(judge_batch(list(programs.items()), config)) as judgements:
        async for judgement in judgements:
            if judgement["accepted"]:
                yield judgement["question"], programs[judgement["question"]]


def tidy(program: str, question: Problem) -> str:
    """Returns `program` in plain layout, without comments, its parameters named as the starter code names them.

    Where these names are taken the program keeps its own; one that does not parse stays as it is.
    """
    try:
        tree = ast.parse(program)
        starter = ast.parse(question.starter_code.rstrip() + "\n    pass") if question.entry_point else ast.parse("")
    except (SyntaxError, ValueError):
        return program
    own, wanted = (_function(one, question.entry_point) for one in (tree, starter))
    if own is not None and wanted is not None:
        names = dict(zip(_parameters(own), _parameters(wanted), strict=False))
        if len(_parameters(own)) == len(_parameters(wanted)) and not set(names.values()) & _names(tree) - set(names):
            _Renamed(names).visit(own)
    return ast.unparse(tree)


def _function(tree: ast.Module, name: str | None) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def _names(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    called = {node.arg for node in nodes if isinstance(node, ast.arg)}
    return defined | called | {node.id for node in nodes if isinstance(node, ast.Name)}


class _Renamed(ast.NodeTransformer):
    """Renames variables and parameters."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._names.get(node.arg, node.arg), node.annotation)
