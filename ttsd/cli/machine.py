"""The command that examines the machine: doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, ModelOption, SetOption, run, settings_of
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.machine.doctor import Finding


def doctor(
    hot_swap: Annotated[
        bool, typer.Option("--hot-swap", help="Also start the configured engine and swap an adapter.")
    ] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Show each promise of the sandbox.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what a bug report needs, as Markdown and without secrets.")
    ] = False,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works on this machine, and in the last line whether it is ready.

    Exit status 0 if it is, 3 if not.
    """
    from ttsd.machine.doctor import Finding
    from ttsd.running.fitting import examined

    findings, settings = examined(settings_of(config, set_, model=model), every_promise=sandbox or report)
    findings.append(_hot_swap(settings) if hot_swap else Finding("adapter hot-swap", None, "--hot-swap tries it"))
    if report:
        _print_report(findings, settings)
    else:
        _print_findings(findings, as_json)


def _print_report(findings: list[Finding], settings: Config) -> None:
    from ttsd.machine.version import described

    print(described(findings, settings))


def _print_findings(findings: list[Finding], as_json: bool) -> None:
    from ttsd.machine.doctor import conclusion
    from ttsd.reporting.live import print_table

    if as_json:
        print(json_text([asdict(finding) for finding in findings]))
    else:
        print_table([{"what": one.what, "works": one.answer, "detail": one.detail} for one in findings])
        print(f"\n{conclusion(findings)}")
    raise typer.Exit(INFRASTRUCTURE if any(one.works is False for one in findings) else 0)


def _hot_swap(settings: Config) -> Finding:
    from ttsd.running.hot_swap import hot_swap

    return run(hot_swap(settings))
