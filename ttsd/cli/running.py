"""Commands that run programs: solve, batch, judge."""

from __future__ import annotations

import shlex
import sys
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.completion import question_names
from ttsd.cli.options import (
    DISCOVERED,
    EXHAUSTED,
    INFRASTRUCTURE,
    RESUMABLE,
    AtOnceOption,
    BudgetOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LabelOption,
    MethodOption,
    ModelOption,
    QuestionArgument,
    SeedsOption,
    SetOption,
    SubsetArgument,
    UnsafeOption,
    expand,
    fit,
    run,
    settings_of,
)
from ttsd.errors import UserError
from ttsd.terminal import json_text, print_answer, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from problems import Problem
    from ttsd.config import Config
    from ttsd.running.batch import Results
    from ttsd.running.preview import Preview

DEMO = "micro:lists:6:61"


def solve(
    question: QuestionArgument,
    method: MethodOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the engine, the adapter and the run.")] = 0,
    budget: BudgetOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    label: LabelOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start another run instead of resuming an unfinished one.")
    ] = False,
    dry_run: DryRunOption = False,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on QUESTION until an attempt passes all tests.

    The discovered program goes to stdout; the run ends without one when the budget is spent.

    Exit status: 0 discovered, 1 budget spent, 2 wrong command or setting, 3 a fault of the machine, 130 or 143
    stopped by SIGINT or SIGTERM (the same command resumes).
    """
    import problems
    from ttsd.api import apreview, asolve
    from ttsd.reporting.live import view_for_stderr

    settings = settings_of(config, set_, unsafe_no_sandbox, model=model, budget=budget)
    _warn_of_several_answers([problems.load(question)])
    if dry_run:
        return _print_preview(run(apreview(question, settings, method=method, seed=seed, fresh=fresh)), as_json)
    with view_for_stderr() as view:
        answer = run(
            asolve(question, settings, method=method, seed=seed, label=label, fresh=fresh, view=view),
            afterwards=_without_fresh(question, method) if fresh else RESUMABLE,
        )
    if as_json:
        print(json_text(asdict(answer)))
    elif answer.program is not None:
        print_answer(answer.program.rstrip("\n"))
    raise typer.Exit(DISCOVERED if answer.discovered else EXHAUSTED)


def _without_fresh(question: str, method: str | None) -> str:
    """Returns what resumes a run that was begun with --fresh, as the demo is: the same command begins another one."""
    command = shlex.join(["ttsd", "solve", question, *(["--method", method] if method else [])])
    return f"everything is on disk, and `{command}` resumes, with the same other options and without --fresh"


def demo() -> None:
    """Solve a bundled question with the bundled model: about a minute on two cores, and nothing is fetched.

    It is `ttsd solve` with everything chosen.
    """
    solve(DEMO, method="sdpo", fresh=True)


def batch(
    subset: SubsetArgument,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated names of `ttsd methods`, or all; default: the settings' own and best-of-k."),
    ] = None,
    seeds: SeedsOption = 1,
    label: LabelOption = None,
    at_once: AtOnceOption = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Engines on a Ray cluster; local: on this machine alone.", metavar="ADDRESS|local"),
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray: engines; default: one per GPU or tensor-parallel group.")
    ] = None,
    budget: BudgetOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    dry_run: DryRunOption = False,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run methods x seeds over a subset, many at once on one engine.

    The same command resumes what was stopped and repeats nothing; a run that another process works on is skipped. Exit
    status: 0 all runs came to their end, 2 wrong command or setting, 3 at least one run failed, 130 or 143 stopped.
    """
    from problems.subsets import questions
    from ttsd.methods import methods_named
    from ttsd.reporting.live import overview_for_stderr
    from ttsd.running import batch as work
    from ttsd.running import cluster
    from ttsd.running.preview import preview

    settings, names = settings_of(config, set_, unsafe_no_sandbox, model=model, budget=budget), questions(subset)
    compared = methods_named(methods or f"{settings.method},best-of-k")
    wanted = work.planned(names, compared, seeds, settings)
    if ray is None and ray_workers is not None:
        raise UserError(f"--ray-workers {ray_workers} needs --ray: give its ADDRESS, or local")
    _warn_of_several_answers(one.problem for one in wanted)
    settings = fit(settings, names, compared)
    wanted = [replace(one, config=work.configured(settings, one.method), label=label) for one in wanted]
    if dry_run:
        return _print_preview(run(preview(wanted, settings)), as_json)
    of_engines = work.batch if ray is None else partial(cluster.batch, address=ray, workers=ray_workers)
    with overview_for_stderr() as overview:
        results = run(of_engines(wanted, settings, runs_at_once=at_once, overview=overview), afterwards=RESUMABLE)
    _print_results(results, as_json=as_json)


def _warn_of_several_answers(found: Iterable[Problem]) -> None:
    """Prints one line, before anything is spent, on questions with more right answers than their cases have."""
    from problems import several_answers_warning

    if warning := several_answers_warning(found):
        say(warning)


def _print_preview(preview: Preview, as_json: bool) -> None:
    if as_json:
        print(json_text(asdict(preview)))
        return
    say(preview.memory or "nothing is left to do")
    for prompt in preview.prompts:
        print(f"== {prompt.heading()}\n{prompt.text}\n")


def _print_results(results: Results, *, as_json: bool) -> None:
    from ttsd.reporting.live import print_table

    answers = [asdict(answer) for answer in results.answers]
    if as_json:
        usage = asdict(results.usage) if results.usage else None
        failed = [asdict(failure) for failure in results.failures]
        skipped = [asdict(held) for held in results.held]
        print(json_text({"runs": answers, "failed": failed, "skipped": skipped, "usage": usage}))
    else:
        print_table([{name: value for name, value in answer.items() if name != "program"} for answer in answers])
    raise typer.Exit(INFRASTRUCTURE if results.failures else 0)


def judge(
    question: Annotated[
        str | None,
        typer.Argument(
            help="micro:ID, lcb:ID, FILE.jsonl#ID or a folder.", autocompletion=question_names, callback=expand
        ),
    ] = None,
    file: Annotated[str | None, typer.Argument(help="A Python file, or - for stdin.", callback=expand)] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help='Judge many: lines {"question": ..., "program": ...}, - for stdin.',
            metavar="FILE.jsonl",
            callback=expand,
        ),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a program by hand on all tests of QUESTION. Exit status 0 if it is accepted, 1 if not.

    With --batch, one verdict object a line, in order; the exit status is 0 whatever they say, and 2 where
    a question can't be used or its own judge fails: those lines are `refused`.
    """
    from ttsd.judging import by_hand

    settings = settings_of(config, set_, unsafe_no_sandbox)
    if batch is not None:
        if question is not None:
            raise UserError(f"--batch names its questions in the file; leave out {question!r}")
        run(_judge_batch(batch, settings))
        return
    if question is None or file is None:
        raise UserError("ttsd judge needs a question and a Python file (or - for stdin), or --batch FILE.jsonl")
    verdict = run(by_hand.judge_program(question, by_hand.read_program(file, sys.stdin), settings))
    if as_json:
        print(json_text(verdict))
    else:
        print(f"{verdict['verdict'].replace('_', ' ')}: {verdict['passed']} of {verdict['total']} cases passed")
        if verdict["feedback"]:
            print(f"\n{verdict['feedback']}")
    raise typer.Exit(0 if verdict["accepted"] else 1)


async def _judge_batch(path: str, settings: Config) -> None:
    from ttsd.judging import by_hand

    requests = by_hand.read_batch(path, sys.stdin)
    refused = 0
    async with aclosing(by_hand.judge_batch(requests, settings)) as judgements:
        async for judgement in judgements:
            refused += judgement["verdict"] == "refused"
            print(json_text(judgement), flush=True)
    if refused:
        raise UserError(f"{refused} programs are refused with their questions; the feedback of each says why")
