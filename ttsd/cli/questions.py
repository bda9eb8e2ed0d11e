"""Commands on questions: `ttsd problems ...`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.completion import subset_names
from ttsd.cli.options import (
    USER_ERROR,
    ConfigOption,
    JsonOption,
    QuestionArgument,
    SetOption,
    UnsafeOption,
    expand,
    run,
    settings_of,
)
from ttsd.errors import UserError
from ttsd.terminal import json_text, one_line, say

if TYPE_CHECKING:
    from problems.collection import Entry
    from problems.selection import Filter
    from ttsd.config import Config
    from ttsd.judging.check_questions import Finding

SEVERAL = "several right answers"
app = typer.Typer(no_args_is_help=True, help="Look at questions, pull them, check your own.")


@app.command("list")
def problems_list(
    subset: Annotated[
        str | None,
        typer.Argument(
            help="A subset, a FILE.jsonl, or a source that was pulled (lcb); without it, what there is.",
            autocompletion=subset_names,
            callback=expand,
        ),
    ] = None,
    since: Annotated[str, typer.Option(help="A source's questions from this day on.", metavar="YYYY-MM-DD")] = "",
    until: Annotated[str, typer.Option(help="Those before this day.", metavar="YYYY-MM-DD")] = "",
    difficulty: Annotated[list[str] | None, typer.Option(help="Those of this difficulty; may be repeated.")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Those of this platform; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with a JSON list.")] = False,
) -> None:
    """List the questions of a subset or of a source that was pulled, one a line, its name first."""
    from problems import collection
    from problems.collection import SOURCES
    from problems.rows import SUFFIXES
    from problems.selection import Filter
    from problems.subsets import questions, shipped

    wanted = Filter(since, until, tuple(difficulty or ()), tuple(platform or ()))
    source = next((source for source in SOURCES.values() if subset in (source.scheme, source.name)), None)
    if source is not None:
        _print_entries(source.scheme, wanted, as_json)
        return
    if wanted != Filter():
        raise UserError(
            f"--since, --until, --difficulty and --platform choose from {', '.join(SOURCES)}, not {subset!r}"
        )
    if subset is not None and subset.endswith(SUFFIXES) and not as_json:
        _print_file(subset)
        return
    pulled = [scheme for scheme in SOURCES if collection.pulled(scheme) is not None]
    names = [*shipped(), *pulled] if subset is None else questions([subset])
    print(json_text(names) if as_json else "\n".join(map(one_line, names)))


def _print_file(file: str) -> None:
    from problems.livecodebench import listed
    from problems.statement import granted, says_several_answers

    rows = [
        [f"{file}#{question_id}", str(granted(statement) or ""), SEVERAL * says_several_answers(statement)]
        for question_id, statement in listed(Path(file))
    ]
    _print_columns(rows)


def _print_entries(scheme: str, wanted: Filter, as_json: bool) -> None:
    from problems.collection import index
    from problems.selection import select

    found = select(index(scheme), wanted)
    usable = [entry for entry in found if entry.file]
    if as_json:
        print(json_text([_row(scheme, entry) for entry in usable]))
        return
    if len(usable) < len(found):
        say(f"{len(found) - len(usable)} more were refused when they were pulled")
    _print_columns([[f"{scheme}:{entry.question_id}", *_cells(entry), one_line(entry.title)] for entry in usable])


def _row(scheme: str, entry: Entry) -> dict[str, object]:
    facts = {name: value for name, value in asdict(entry).items() if name not in ("question_id", "file", "refused")}
    return {"question": f"{scheme}:{entry.question_id}", **facts}


def _cells(entry: Entry) -> list[str]:
    several = SEVERAL * entry.several_answers
    return list(map(one_line, (entry.date[:10], entry.difficulty, entry.platform, entry.comparison, several)))


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        print("  ".join(cells).rstrip())


@app.command("pull")
def problems_pull(
    source: Annotated[
        str,
        typer.Argument(
            help="livecodebench, humaneval, mbpp, codeforces, apps, taco or code_contests.", metavar="SOURCE"
        ),
    ],
    release: Annotated[
        str | None,
        typer.Option(
            help="LiveCodeBench: v1 to v6 (all up to it, v6 if not given), or v5_v6 (what these added). "
            "humaneval: plus, base. mbpp: plus, full, sanitized. codeforces: all, test. apps, taco: test, train. "
            "code_contests: test, valid, train."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, branch or pull request of the repository on the hub.")
    ] = None,
    origin: Annotated[
        Path | None,
        typer.Option("--from", help="Instead: a .jsonl, .jsonl.gz or .parquet file, or a folder.", callback=expand),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download the questions of SOURCE from the Hugging Face hub, once; afterwards lcb:ID works without a network.

    They take the place of what was pulled of SOURCE before, when all is there. Rows that can't be used are named and
    left out. Killed, the same command resumes. Nothing that was downloaded is ever run by this command.
    """
    from problems import collection

    found = collection.source_named(source)
    if origin is not None and (release or revision):
        raise UserError(f"--from {str(origin)!r} reads your own files; leave out --release and --revision")
    if origin is not None:
        pulled = collection.pull_files(found, origin)
    else:
        pulled = collection.pull(found, release=release, revision=revision)
    usable, refused = pulled.usable(), pulled.refused()
    if as_json:
        answer = {name: value for name, value in asdict(pulled).items() if name != "entries"}
        reasons = [{"question": entry.question_id, "row": entry.row, "reason": entry.refused} for entry in refused]
        print(json_text({**answer, "questions": len(usable), "refused": reasons}))
        return
    for entry in refused:
        say(one_line(f"left out {entry.question_id}: {entry.refused}"))
    pinned = f" at {pulled.revision}" if pulled.revision else ""
    unconfirmed = sum(not entry.hidden_cases for entry in usable)
    counts = f"{len(usable)} questions of {pulled.origin}{pinned}, {len(refused)} left out"
    print(f"{counts}, {unconfirmed} without hidden cases: ttsd problems list {found.scheme}")


@app.command("check")
def problems_check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Questions, subsets, FILE.jsonl, problem folders or folders of them.",
            metavar="[QUESTION_OR_FOLDER...]",
            autocompletion=subset_names,
            callback=expand,
        ),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object a line.")] = False,
) -> None:
    """Say of each question what is wrong with it, one line each; without names, of all folders here.

    Where it has a right program of its own (solution.py in a folder), that is run in the sandbox on all cases. Exit
    status 0 if nothing is wrong, 2 if something is.
    """
    settings = settings_of(config, set_, unsafe_no_sandbox)
    raise typer.Exit(run(_check(names or ["."], settings, as_json)))


async def _check(names: list[str], settings: Config, as_json: bool) -> int:
    from problems.subsets import questions
    from ttsd.judging.check_questions import check_questions

    status = unconfirmed = checked = 0
    async with aclosing(check_questions(questions(names), settings)) as findings:
        async for finding in findings:
            status = USER_ERROR if finding.wrong else status
            checked, unconfirmed = checked + 1, unconfirmed + (not finding.wrong and finding.visible == finding.cases)
            print(json_text({"ok": not finding.wrong, **asdict(finding)}) if as_json else _line(finding), flush=True)
    if checked > 1:
        say(f"{checked} questions, {unconfirmed} without hidden cases")
    return status


def _line(finding: Finding) -> str:
    if finding.wrong:
        return f"WRONG  {one_line(f'{finding.question}: {finding.wrong}')}"
    parts = [finding.kind, f"{_cases(finding.cases)} ({finding.visible} visible)"]
    if finding.comparison:
        why = " as its statement grants" if finding.granted else ""
        parts.append(f"compared by {finding.comparison}{why}")
    if finding.several_answers:
        parts.append(f"its statement allows {SEVERAL}")
    if finding.kind in ("stdin", "function"):
        reference = finding.reference
        parts.append("no program of its own to run" if reference is None else f"its own program: {reference}")
    return f"ok     {one_line(finding.question)}: {', '.join(parts)}"


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


@app.command("show")
def problems_show(question: QuestionArgument, as_json: JsonOption = False) -> None:
    """Print a question as the model reads it, and its tests."""
    import problems
    from ttsd.prompts import question_text

    problem = problems.load(question)
    if as_json:
        comparison = asdict(problem.comparison) if problem.asks_for_program else None
        facts = {"several_answers": problem.several_answers, "comparison": comparison}
        print(json_text({**asdict(problem), **facts}))
        return
    print(f"{one_line(problem.title)} ({problem.kind}, {_cases(len(problem.cases))})\n\n{question_text(problem)}")
    if problem.several_answers:
        print(f"\nIts statement allows {SEVERAL}, but a case accepts one: a right program may be judged wrong.")
    if problem.asks_for_program and str(problem.comparison):
        why = ", as its statement grants" if problem.comparison.granted else ""
        print(f"\nOutputs are compared by {problem.comparison}{why}.")
    for number, case in enumerate(problem.cases):
        public = " (public)" if case.public else ""
        print(f"\ncase {number}{public}\n{case.input.rstrip()}\n->\n{case.expected.rstrip()}")
