"""The command that looks at the machine: doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, SetOption, run, settings_of


def doctor(
    hot_swap: Annotated[
        bool, typer.Option("--hot-swap", help="Also start the configured engine and swap an adapter.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option(help="Instead: memory and time of a step on a card, as in h100-80.", metavar="CARD")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="With --plan: questions that share the engine.")] = 1,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="With --plan: a completion's usual length; default: its limit.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Print what a bug report needs, as Markdown and without secrets.")
    ] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works on this machine. Exit status 0 if all that is needed does (the plan fits), 3 if not."""
    from ttsd.machine import doctor as work
    from ttsd.reporting.live import print_table

    settings = settings_of(config, set_)
    if plan is not None:
        planned, shared, fits = work.plan_for(settings, plan, questions, tokens)
        if as_json:
            print(json.dumps({"fits": fits, "rows": planned, "shared": shared}))
        else:
            print_table(planned)
            print_table(shared)
        raise typer.Exit(0 if fits else INFRASTRUCTURE)
    findings = work.examine(settings)
    if hot_swap:
        from ttsd.running.hot_swap import hot_swap as hot_swap_works

        findings.append(run(hot_swap_works(settings)))
    if report:
        from ttsd.machine.version import described

        print(described(findings, settings))
        return
    rows = [asdict(finding) for finding in findings]
    if as_json:
        print(json.dumps(rows))
    else:
        print_table([{**row, "works": "yes" if row["works"] else "NO"} for row in rows])
    raise typer.Exit(0 if all(finding.works for finding in findings) else INFRASTRUCTURE)
