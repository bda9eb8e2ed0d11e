"""The command that measures questions before money is spent: probe."""

from __future__ import annotations

import json
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
    SetOption,
    SubsetArgument,
    UnsafeOption,
    run,
    settings_of,
)
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.running.hardness import Estimate
    from ttsd.running.probe import Probe
    from ttsd.running.self_teacher import Form


def probe(
    subset: SubsetArgument,
    samples: Annotated[int, typer.Option(min=8, help="Attempts on each question; the record's own count.")] = 64,
    teacher_samples: Annotated[
        int, typer.Option(min=0, help="Attempts of the self-teacher on each question in each form.")
    ] = 16,
    forms: Annotated[
        str,
        typer.Option(help="Of hindsight: feedback, shuffled (control), several, attempt, examples, diagnosis; or all."),
    ] = "feedback,shuffled",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write NAME-hard.toml and so on, as `ttsd batch` takes, and NAME-config.toml, the proposed settings.",
            metavar="NAME.toml",
        ),
    ] = None,
    at_once: AtOnceOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how hard questions are for the model, and whether feedback helps it, before training.

    Unbiased pass@64 with a 90 % interval, the paper's bands (hard: below 0.5, very hard: below 0.03), what the model
    passes when it reads feedback on its failed attempts, that of another question's attempts (the control), and none;
    one sentence of advice; what runs would cost. 64 attempts tell hard questions from easy ones; some 1,000 tell very
    hard ones from hard ones. The same command resumes what was stopped.

    Exit status: 0, 2 a mistake of yours, 3 at least one question failed, 130 or 143 stopped.
    """
    from problems.subsets import questions
    from ttsd.reporting.live import overview_for_stderr
    from ttsd.running import hardness
    from ttsd.running import probe as work

    settings = settings_of(config, set_, unsafe_no_sandbox)
    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out {str(out)!r} lies in no folder that exists; make it first")
    work_on = partial(work.probe, samples=samples, hindsight=work.Hindsight(teacher_samples, _forms(forms)))
    with overview_for_stderr() as overview:
        found = run(work_on(questions(subset), settings, runs_at_once=at_once, overview=overview), afterwards=RESUMABLE)
    costs = hardness.estimates(found.measured, found.seconds_per_attempt, settings.budget.attempts)
    files = _written(found, settings, out) if out is not None else []
    if as_json:
        print(json.dumps(_answer(found, costs, files)))
    else:
        _print(found, costs, files)
    raise typer.Exit(INFRASTRUCTURE if found.failures else 0)


def _forms(text: str) -> tuple[Form, ...]:
    from ttsd.running.self_teacher import FORMS, form_named

    return FORMS if text == "all" else tuple(form_named(name.strip()) for name in text.split(","))


def _written(found: Probe, settings: Config, out: Path) -> list[Path]:
    from ttsd.running.advice import write_config
    from ttsd.running.hardness import write_subsets

    return [*write_subsets(found.measured, out), write_config(settings, found.measured, out)]


def _answer(found: Probe, costs: list[Estimate], files: list[Path]) -> dict[str, Any]:
    from ttsd.running import advice, hardness

    return {
        "questions": hardness.rows(found.measured),
        "hindsight": advice.rows(found.measured),
        "advice": advice.advice(found.measured),
        "failed": [asdict(failure) for failure in found.failures],
        "costs": [asdict(cost) for cost in costs],
        "seconds_per_attempt": found.seconds_per_attempt,
        "files": [str(path) for path in files],
    }


def _print(found: Probe, costs: list[Estimate], files: list[Path]) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running import advice, hardness

    print_table(hardness.rows(found.measured))
    print_table([{name: _cell(value) for name, value in row.items()} for row in advice.rows(found.measured)])
    print_table(
        [
            {
                "estimate for all questions, gradient steps not counted": cost.what,
                "attempts": round(cost.attempts),
                "tokens": round(cost.tokens),
                "hours": "unknown: nothing was drawn" if cost.hours is None else f"{cost.hours:.2f}",
            }
            for cost in costs
        ]
    )
    print(advice.advice(found.measured))
    for path in files:
        print(path, file=sys.stderr)


def _cell(value: object) -> object:
    """A share with its interval, in one cell."""
    return "{} ({} to {})".format(*value) if isinstance(value, list) else value
