"""Finds questions, wherever they come from. `load` reads one by the name that a user types.

    micro:<id>                   the bundled suite
    lcb:<question_id>            LiveCodeBench, once pulled
    humaneval:<n>, mbpp:<n>, codeforces:<contest>/<letter>, apps:<id>, taco:<id>, code_contests:<id>
                                 the same of other published sets
    FILE.jsonl#<question_id>     a local file in LiveCodeBench's schema, .jsonl.gz too
    FOLDER                       a question of the user's own

Nothing that a question's text, tests or checker contain is executed here; what can't be read in full is refused with a
ProblemError.
"""

from __future__ import annotations

from pathlib import Path

from problems import collection, folder, livecodebench
from problems.problem import Case, Problem, ProblemError, Split, SplitMode, checked, several_answers_warning
from problems.rows import SUFFIXES
from problems.split import split

__all__ = [
    "Case",
    "Problem",
    "ProblemError",
    "Split",
    "SplitMode",
    "load",
    "reference",
    "several_answers_warning",
    "split",
]

FORMS = "micro:<id>, lcb:<question_id>, FILE.jsonl#<question_id> or a problem folder"


def load(name: str) -> Problem:
    """Returns the question called `name`; raises ProblemError where there is none or it can't be used."""
    scheme, colon, rest = name.partition(":")
    if colon and scheme == "micro":
        from problems.micro import load as load_micro

        return checked(load_micro(rest))
    if colon and scheme in collection.SOURCES:
        return checked(collection.load(scheme, rest))
    return checked(_load_path(name))


def _load_path(name: str) -> Problem:
    file, hash_mark, question_id = name.rpartition("#")
    if hash_mark and file.endswith(SUFFIXES):
        return livecodebench.load(Path(file), question_id, name)
    if name.endswith(SUFFIXES):
        raise ProblemError(f"{name} holds many questions: name one, {name}#<question_id>")
    if not name or "\0" in name or not Path(name).is_dir():
        raise ProblemError(f"there is no question {name!r}: give {FORMS}")
    return folder.load(Path(name), str(Path(name)))  # q, q/ and ./q are one question, so one run


def reference(name: str) -> str | None:
    """Returns a right program for the question called `name`, where its source has one; raises ProblemError."""
    scheme, colon, rest = name.partition(":")
    if colon and scheme in collection.SOURCES:
        return collection.reference(scheme, rest)
    return folder.reference(Path(name)) if Path(name).is_dir() else None
