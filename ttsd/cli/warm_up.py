"""The command that teaches a model to use feedback, once for all later questions: warm-up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttsd.cli.options import (
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
    from ttsd.running.warm_up import WarmUp


def warm_up(
    subset: SubsetArgument,
    out: Annotated[Path, typer.Option(help="The adapter's folder.", metavar="ADAPTER", callback=expand)],
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Questions kept out, with all that are alike to them: a subset.", metavar="SUBSET"),
    ] = None,
    attempts: Annotated[int, typer.Option(min=2, help="Attempts sampled on each question.")] = 8,
    pairs: Annotated[int, typer.Option(min=8, help="Pairs to learn from at most.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1, help="Times that each pair is learned from.")] = 1,
    lr: Annotated[float, typer.Option(help="Learning rate of the first step; it falls to zero.")] = 1e-4,
    minutes: Annotated[float | None, typer.Option(help="Training ends after these, with what is learned.")] = None,
    held_out: Annotated[int, typer.Option(min=1, help="Questions to check with, and a quarter of all at most.")] = 40,
    check: Annotated[
        int, typer.Option(min=2, help="Attempts on each of them: without, with true, with shuffled feedback.")
    ] = 8,
    licence: Annotated[str, typer.Option(help="Licence of the questions, recorded with the adapter.")] = "unknown",
    at_once: AtOnceOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Teach the model to use feedback: one adapter, made once, that all later runs start from.

    Learns from the model's own attempts on the questions of SUBSET: from wrong ones and their feedback to a right
    program. Prints accuracy on held-out questions before and after: without feedback, with it, and with shuffled
    feedback (the control). Later runs take it with `--set lora.init=ADAPTER`. The same command resumes.

    Exit status: 0, 2 wrong command or setting, 3 a fault of the machine, 130 or 143 stopped.
    """
    from problems.subsets import questions
    from ttsd.methods import METHODS
    from ttsd.reporting.live import overview_for_stderr
    from ttsd.running import warm_up as work

    settings = settings_of(config, set_, unsafe_no_sandbox, model=model)
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {str(out)!r} is in no folder that exists; make it first")
    options = work.Options(attempts, pairs, epochs, lr, held_out, check, minutes and 60 * minutes, licence)
    names, kept_out = questions(subset), questions(exclude) if exclude else []
    settings = fit(settings, names, [*METHODS.values()])
    with overview_for_stderr() as overview:
        warming = work.warm_up(names, kept_out, settings, options, out, runs_at_once=at_once, overview=overview)
        found = run(warming, afterwards=RESUMABLE)
    if as_json:
        print(json_text(_answer(found)))
    else:
        _print(found)


def _answer(found: WarmUp) -> dict[str, Any]:
    return {"adapter": str(found.folder), "record": found.record, "held_out": _rows(found), "gaps": _gaps(found)}


def _rows(found: WarmUp) -> list[dict[str, Any]]:
    from ttsd.running.probe import feedback_rows

    probes = {"before": found.before, "after": found.after}
    return [{"when": when, **row} for when, measured in probes.items() for row in feedback_rows(measured)]


def _gaps(found: WarmUp) -> dict[str, list[float | None] | None]:
    """Returns what true feedback adds to shuffled feedback, before and after, with its 90 % interval."""
    from ttsd.running.probe import gap, span

    gaps = {"before": gap(found.before), "after": gap(found.after)}
    return {when: None if one is None else span(one) for when, one in gaps.items()}


def _print(found: WarmUp) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running.probe import cell

    print_table([{name: cell(value) for name, value in row.items()} for row in _rows(found)])
    for when, one in _gaps(found).items():
        print(f"{when}: true feedback adds {cell(one) or 'nothing known'} to the accuracy with shuffled feedback")
    print(f"use it with --set lora.init={found.folder}")
