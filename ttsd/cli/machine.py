"""The command that examines the machine: doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, SetOption, run, settings_of
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.machine.doctor import Finding


def doctor(
    hot_swap: Annotated[
        bool, typer.Option("--hot-swap", help="Also start the configured engine and swap an adapter.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option(help="Instead: the memory of a step on a GPU, as in h100-80.", metavar="GPU")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="With --plan: questions that share the engine.")] = 1,
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
        return _plan(settings, plan, questions, as_json)
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
        print(json_text(rows))
    else:
        print_table([{**row, "works": "yes" if row["works"] else "NO"} for row in rows])
    raise typer.Exit(0 if all(finding.works for finding in findings) else INFRASTRUCTURE)


def _plan(settings: Config, gpu: str, questions: int, as_json: bool) -> None:
    from ttsd.machine.doctor import plan_for
    from ttsd.reporting.live import print_table

    rows, fits = plan_for(settings, gpu, questions)
    if as_json:
        print(json_text({"fits": fits, "rows": rows}))
    else:
        print_table(rows)
    raise typer.Exit(0 if fits else INFRASTRUCTURE)
