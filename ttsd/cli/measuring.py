"""Commands that measure and teach how a model uses feedback, before later runs: probe, warm-up."""

from __future__ import annotations

import sys
from dataclasses import asdict
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
    from ttsd.running.warm_up import WarmUp


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
    if out is not None:
        _check_folder(out)
    settings = fit(settings, names, methods_named("best-of-k,multi-turn"))
    with overview_for_stderr() as overview:
        probing = work.probe(
            names, settings, samples=samples, feedback_samples=feedback_samples, runs_at_once=at_once, overview=overview
        )
        found = run(probing, afterwards=RESUMABLE)
    files = write_subsets(found.measured, out) if out is not None else []
    _print_probe(found, files, as_json)
    raise typer.Exit(INFRASTRUCTURE if found.failures else 0)


def _print_probe(found: Probe, files: list[Path], as_json: bool) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running import hardness
    from ttsd.running.probe import advice, feedback_rows

    rows, feedback = hardness.rows(found.measured), feedback_rows(found.measured)
    if as_json:
        failed = [asdict(failure) for failure in found.failures]
        answer = {"questions": rows, "feedback": feedback, "advice": advice(found.measured)}
        print(json_text({**answer, "failed": failed, "files": list(map(str, files))}))
        return
    print_table(rows)
    print_table(list(map(_in_cells, feedback)))
    print(advice(found.measured))
    for path in files:
        print(path, file=sys.stderr)


def warm_up(
    subset: SubsetArgument,
    out: Annotated[Path, typer.Option(help="The adapter's folder.", metavar="ADAPTER", callback=expand)],
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Questions kept out, with all that are alike to them: a subset.", metavar="SUBSET"),
    ] = None,
    attempts: Annotated[int, typer.Option(min=2, help="Attempts sampled on each question.")] = 8,
    pairs: Annotated[int, typer.Option(min=8, help="Pairs to learn from at most, each once.")] = 1000,
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
    _check_folder(out)
    options = work.Options(attempts, pairs, lr, held_out, check, minutes and 60 * minutes, licence)
    names, kept_out = questions(subset), questions(exclude) if exclude else []
    settings = fit(settings, names, [*METHODS.values()])
    with overview_for_stderr() as overview:
        warming = work.warm_up(names, kept_out, settings, options, out, runs_at_once=at_once, overview=overview)
        found = run(warming, afterwards=RESUMABLE)
    _print_warm_up(found, as_json)


def _print_warm_up(found: WarmUp, as_json: bool) -> None:
    from ttsd.reporting.live import print_table
    from ttsd.running.probe import feedback_rows, gap, span

    probes = {"before": found.before, "after": found.after}
    rows = [{"when": when, **row} for when, measured in probes.items() for row in feedback_rows(measured)]
    gaps = {when: (added := gap(measured)) and span(added) for when, measured in probes.items()}
    if as_json:
        print(json_text({"adapter": str(found.folder), "record": found.record, "held_out": rows, "gaps": gaps}))
        return
    print_table(list(map(_in_cells, rows)))
    for when, one in gaps.items():
        more = _in_cells({"gap": one})["gap"] if one else "nothing known"
        print(f"{when}: true feedback adds {more} to the accuracy with shuffled feedback")
    print(f"use it with --set lora.init={found.folder}")


def _check_folder(out: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {str(out)!r} is in no folder that exists; make it first")


def _in_cells(row: dict[str, Any]) -> dict[str, Any]:
    """Writes each difference with its interval in one cell."""
    return {name: "{} ({} to {})".format(*one) if isinstance(one, list) else one for name, one in row.items()}
