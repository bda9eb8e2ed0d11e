"""The command that compares every method on subsets, with any model: evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ttsd.cli.options import (
    INFRASTRUCTURE,
    RESUMABLE,
    AtOnceOption,
    ConfigOption,
    FractionsOption,
    JsonOption,
    SeedsOption,
    SetOption,
    SubsetArgument,
    UnsafeOption,
    WindowsOption,
    run,
    settings_of,
)
from ttsd.cli.running import fractions_of, windows_of


def evidence(
    subset: SubsetArgument,
    out: Annotated[Path, typer.Option(help="The folder for databases, reports and the table.", metavar="FOLDER")],
    methods: Annotated[
        str, typer.Option(help="Comma-separated; ratios are taken against best-of-k.")
    ] = "sdpo,grpo,best-of-k,multi-turn",
    seeds: SeedsOption = 3,
    windows: WindowsOption = None,
    teacher_fractions: FractionsOption = None,
    at_once: AtOnceOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after saying what it will cost.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare every method on subsets, with any model: discoveries, attempts, rounds and tokens, with intervals.

    Says beforehand what it will cost, resumes where it was stopped, and writes a report for each subset and the
    table evidence.md. `--set budget.attempts=N` sets each run's budget. Bundled lists: micro-hard, micro-very-hard,
    micro-long.

    Exit status: 0 all runs came to their end, 2 a mistake of yours, 3 at least one run failed, 130 or 143 stopped.
    """
    from ttsd.methods import method_named
    from ttsd.reporting import evidence as work
    from ttsd.reporting.live import overview_for_stderr

    study = work.Study(
        tuple(subset),
        settings_of(config, set_, unsafe_no_sandbox),
        out,
        tuple(method_named(name.strip()).name for name in methods.split(",")),
        seeds,
        tuple(windows_of(windows)),
        tuple(fractions_of(teacher_fractions)),
        at_once,
    )
    with overview_for_stderr() as overview:
        failures = run(work.gather(study, overview, dry_run=dry_run), afterwards=RESUMABLE)
    table = out / "evidence.md"
    if as_json:
        print(json.dumps(work.summary(study)))
    elif table.is_file():
        print(table.read_text("utf-8"), end="")
    raise typer.Exit(INFRASTRUCTURE if failures else 0)
