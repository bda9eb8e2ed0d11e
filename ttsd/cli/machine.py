"""The command that examines the machine: doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, ModelOption, SetOption, run, settings_of
from ttsd.terminal import json_text


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
    from ttsd.machine.doctor import Finding, conclusion
    from ttsd.machine.version import described
    from ttsd.reporting.live import print_table
    from ttsd.running import fitting

    findings, settings = fitting.examined(settings_of(config, set_, model=model), every_promise=sandbox or report)
    untried = Finding("adapter hot-swap", None, "--hot-swap tries it")
    findings.append(run(fitting.hot_swap(settings)) if hot_swap else untried)
    if report:
        print(described(findings, settings))
        return
    if as_json:
        print(json_text([asdict(finding) for finding in findings]))
    else:
        rows = [{"what": one.what, "works": one.answer, "detail": one.detail} for one in findings]
        print_table(rows, whole=("what", "detail"))
        print(f"\n{conclusion(findings)}")
    raise typer.Exit(INFRASTRUCTURE if any(one.works is False for one in findings) else 0)
