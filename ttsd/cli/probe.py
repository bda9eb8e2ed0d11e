"""The command that measures questions before money is spent: probe."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttsd.cli.options import (
    INFRASTRUCTURE,
    RESUMABLE,
    AtOnceOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    SetOption,
    SubsetArgument,
    UnsafeOption,
    expand,
    fit,
    run,
    settings_of,
)
from ttsd.errors import UserError
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from ttsd.running.probe import Probe


def probe(
    subset: SubsetArgument,
    samples: Annotated[int, typer.Option(min=8, help="Attempts of best-of-k on each question.")] = 64,
    feedback_samples: Annotated[
        int, typer.Option(min=0, help="Attempts with feedback on each question, and as many with shuffled feedback.")
    ] = 16,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write NAME-hard.toml and so on, as `ttsd batch` takes them.", metavar="NAME.toml", callback=expand
        ),
    ] = None,
    at_once: AtOnceOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how hard questions are for the model, and whether feedback helps it, before training.

    Prints unbiased pass@64 with a 90 % interval, the paper's bands (hard: below 0.5, very hard: below 0.03), what the
    model passes with feedback in the prompt and with shuffled feedback (the control), and one sentence of advice. 64
    attempts tell hard questions from easy ones; some 1,000 tell very hard ones from hard ones.

    Exit status: 0, 2 wrong command or setting, 3 at least one question failed, 130 or 143 stopped.
    """
    from problems.subsets import questions
    from ttsd.methods import methods_named
    from ttsd.reporting.live import overview_for_stderr
    from ttsd.running import probe as work
    from ttsd.running.hardness import write_subsets

    names = questions(subset)
    settings = settings_of(config, set_, unsafe_no_sandbox, model=model)
    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out {str(out)!r} is in no folder that exists; make it first")
    work_on = partial(work.probe, samples=samples, feedback_samples=feedback_samples)
    settings = fit(settings, names, methods_named("best-of-k,multi-turn"))
    with overview_for_stderr() as overview:
        found = run(work_on(names, settings, runs_at_once=at_once, overview=overview), afterwards=RESUMABLE)
    files = write_subsets(found.measured, out) if out is not None else []
    if as_json:
        print(json_text(_answer(found, files)))
    else:
        _print(found, files)
    raise typer.Exit(INFRASTRUCTURE if found.failures else 0)


def _answer(found: Probe, files: list[Path]) -> dict[str, Any]:
    from ttsd.running import hardness
    from ttsd.running import probe as work

    return {
        "questions": hardness.rows(found.measured),
        "feedback": work.feedback_rows(found.measured),
        "advice": work.advice(found.measured),
        "failed": [asdict(failure) for failure in found.failures],
        "files": [str(path) for path in files],
    }


def _print(found: Probe, files: list[Path]) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running import hardness
    from ttsd.running import probe as work

    print_table(hardness.rows(found.measured))
    print_table([{name: work.cell(value) for name, value in row.items()} for row in work.feedback_rows(found.measured)])
    print(work.advice(found.measured))
    for path in files:
        print(path, file=sys.stderr)
