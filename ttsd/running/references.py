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
    programs = {one.name: tidy(text) for one in questions if (text := problems.reference(one.name)) is not None}
    async with aclosing(judge_batch(list(programs.items()), config)) as judgements:
        async for judgement in judgements:
            if judgement["accepted"]:
                yield judgement["question"], programs[judgement["question"]]


def tidy(program: str) -> str:
    """Returns `program` in plain layout, without comments; one that does not parse stays as it is."""
    try:
        return ast.unparse(ast.parse(program))
    except (SyntaxError, ValueError):
        return program
