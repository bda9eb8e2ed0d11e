"""The command that looks at the machine: doctor."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, SetOption, run, settings_of

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.machine.doctor import Finding


def doctor(
    hot_swap: Annotated[
        bool, typer.Option("--hot-swap", help="Also start the configured engine and swap an adapter.")
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            help="Instead: memory and time of a step on a card, as in h100-80, or by measurements.",
            metavar="CARD|FILE.json",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Instead: load the engine and measure what it does here, in some minutes.")
    ] = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="With --measure: draw weights; nothing is downloaded.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(help="With --measure: write it for --plan to use.", metavar="FILE.json")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="With --plan: questions that share the engine.")] = 1,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="A completion's usual length; default: --plan its limit, --measure 256, CPU 32."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Print what a bug report needs, as Markdown and without secrets.")
    ] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works on this machine. Exit status 0 if all that is needed does (the plan fits), 3 if not."""
    from ttsd.machine.doctor import examine

    settings = settings_of(config, set_)
    if plan is not None:
        return _plan(settings, plan, questions, tokens, as_json)
    if measure:
        return _measure(settings, random_weights, tokens, out, as_json)
    findings = examine(settings)
    if hot_swap:
        from ttsd.running.hot_swap import hot_swap as hot_swap_works

        findings.append(run(hot_swap_works(settings)))
    if report:
        _print_report(findings, settings)
    else:
        _print_findings(findings, as_json)


def _print_report(findings: list[Finding], settings: Config) -> None:
    from ttsd.machine.version import described

    print(described(findings, settings))


def _print_findings(findings: list[Finding], as_json: bool) -> None:
    from ttsd.reporting.live import print_table

    rows = [asdict(finding) for finding in findings]
    if as_json:
        print(json.dumps(rows))
    else:
        print_table([{**row, "works": "yes" if row["works"] else "NO"} for row in rows])
    raise typer.Exit(0 if all(finding.works for finding in findings) else INFRASTRUCTURE)


def _plan(settings: Config, on: str, questions: int, tokens: int | None, as_json: bool) -> None:
    from ttsd.machine.doctor import plan_for
    from ttsd.reporting.live import print_table

    planned, shared, fits = plan_for(settings, on, questions, tokens)
    if as_json:
        print(json.dumps({"fits": fits, "rows": planned, "shared": shared}))
    else:
        print_table(planned)
        print_table(shared)
    raise typer.Exit(0 if fits else INFRASTRUCTURE)


def _measure(settings: Config, random_weights: bool, tokens: int | None, out: str | None, as_json: bool) -> None:
    from ttsd.machine.measured import write
    from ttsd.machine.plan_table import measured_table
    from ttsd.reporting.live import print_table
    from ttsd.running.measure import measure

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    found = run(measure(settings, random_weights=random_weights, tokens=tokens, say=say))
    if out is not None:
        write(found, Path(out))
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print_table(measured_table(found))
