"""The command that measures questions before money is spent: probe."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.options import (
    INFRASTRUCTURE,
    RESUMABLE,
    ConfigOption,
    JsonOption,
    SetOption,
    UnsafeOption,
    run,
    settings_of,
)
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.running.probe import Cost, Probe


def probe(
    subset: Annotated[
        list[str], typer.Argument(help="A subset's name, a TOML file, or questions.", metavar="SUBSET...")
    ],
    samples: Annotated[int, typer.Option(min=64, help="Attempts on each question; the record's own count.")] = 64,
    teacher_samples: Annotated[int, typer.Option(min=0, help="Attempts of the self-teacher on each question.")] = 16,
    out: Annotated[
        Path | None, typer.Option(help="Write NAME-hard.toml and so on, as `ttsd batch` takes.", metavar="NAME.toml")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Questions sampled at one time; default: what the memory holds.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how hard questions are for the model, before training.

    Unbiased pass@64 with a 90 % interval, the paper's bands (hard: below 0.5, very hard: below 0.03), the one-turn
    self-teacher's accuracy and its gap to the student's, and what runs would cost. 64 attempts tell hard questions
    from easy ones; some 1,000 tell very hard ones from hard ones. The same command resumes what was stopped.

    Exit status: 0, 2 a mistake of yours, 3 at least one question failed, 130 or 143 stopped.
    """
    from problems.subsets import questions
    from ttsd.reporting.live import overview_for_stderr
    from ttsd.running import probe as work

    settings = settings_of(config, set_, unsafe_no_sandbox)
    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out {str(out)!r} lies in no folder that exists; make it first")
    with overview_for_stderr() as overview:
        found = run(
            work.probe(
                questions(subset),
                settings,
                samples=samples,
                teacher_samples=teacher_samples,
                runs_at_once=at_once,
                overview=overview,
            ),
            afterwards=RESUMABLE,
        )
    costs = work.costs(found, settings.budget.attempts)
    files = [str(path) for path in work.write_subsets(found.measured, out)] if out is not None else []
    if as_json:
        failed = [asdict(failure) for failure in found.failures]
        answer = {"questions": work.rows(found.measured), "failed": failed, "costs": [asdict(cost) for cost in costs]}
        print(json.dumps({**answer, "seconds_per_attempt": found.seconds_per_attempt, "files": files}))
    else:
        _print(found, costs)
        for path in files:
            print(path, file=sys.stderr)
    raise typer.Exit(INFRASTRUCTURE if found.failures else 0)


def _print(found: Probe, costs: list[Cost]) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running.probe import rows

    print_table(rows(found.measured))
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
