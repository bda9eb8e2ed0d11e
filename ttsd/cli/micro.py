"""Commands on the bundled model and suite: `ttsd micro ...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ttsd.cli.options import INFRASTRUCTURE, ConfigOption, JsonOption, SetOption, run, settings_of
from ttsd.cli.running import fractions_of, windows_of
from ttsd.errors import Interrupted, UserError

micro_app = typer.Typer(no_args_is_help=True, help="Rebuild, measure and try the bundled model.")
BUDGET = "budget.attempts=512"


@micro_app.command()
def train(
    out: Annotated[Path, typer.Option(help="The model folder to write.", metavar="FOLDER")],
    seed: Annotated[int, typer.Option(help="Seed of corpus, tokenizer and weights.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from FOLDER.checkpoint.")] = False,
) -> None:
    """Build tokenizer, corpus and weights from a seed: about 25 minutes on two cores."""
    from ttsd.micro.training import Recipe
    from ttsd.micro.training import train as work

    try:
        work(Recipe(seed=seed), out, resume=resume)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command with --resume goes on from the last checkpoint") from None


@micro_app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder.", metavar="FOLDER")],
    questions: Annotated[int, typer.Option(min=1, help="Questions behind each row of the table.")] = 24,
    subsets: Annotated[
        bool, typer.Option("--subsets", help="Also choose the suite's lists of questions anew, for these weights.")
    ] = False,
) -> None:
    """Print how likely a model is to write the right program: alone, with feedback, with a demonstration."""
    from ttsd.micro.evaluation import shown, table, write_subsets
    from ttsd.micro.model import load

    if not (model / "model.safetensors").is_file():
        raise UserError(f"{str(model)!r} is no model folder; give one that `ttsd micro train` wrote")
    loaded = load(model)
    for title, heed in (
        ("attempts in a row, which heed 9/10 of what they were told", 0.9),
        ("independent attempts", 0.0),
    ):
        print(f"Feedback on {title}:\n\n{shown(table(*loaded, questions=questions, heed=heed))}\n")
    if subsets:
        write_subsets(*loaded)


@micro_app.command()
def evidence(
    out: Annotated[Path, typer.Option(help="The folder for databases, reports and the table.", metavar="FOLDER")],
    subset: Annotated[list[str] | None, typer.Argument(help="Subsets.", metavar="[SUBSET]...")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method on each question: seeds 0 to N-1.")] = 3,
    windows: Annotated[str, typer.Option(help="Multi-turn once with each of these windows.")] = "2,4,8",
    teacher_fractions: Annotated[
        str, typer.Option(help="sdpo once with each of these shares of a group drawn by the teacher.")
    ] = "0,1",
    at_once: Annotated[int, typer.Option(min=1, help="Runs that share the engine at one time.")] = 12,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run sdpo, grpo, best-of-k and multi-turn over subsets (micro-hard unless given), 512 attempts each.

    Says beforehand how long it will take, goes on where it was broken off, and writes a report for each subset and
    the table evidence.md. Exit status: 0 all runs came to their end, 3 at least one failed, 130 interrupted.
    """
    from ttsd.reporting import evidence as work
    from ttsd.reporting.live import overview_for_stderr

    settings = settings_of(config, [BUDGET, *(set_ or [])])
    study = work.Study(
        tuple(subset or ["micro-hard"]),
        settings,
        out,
        seeds,
        tuple(windows_of(windows)),
        tuple(fractions_of(teacher_fractions)),
        runs_at_once=at_once,
    )
    with overview_for_stderr() as overview:
        failures = run(work.gather(study, overview))
    table = out / "evidence.md"
    print(json.dumps(work.summary(study)) if as_json else table.read_text("utf-8"), end="" if not as_json else "\n")
    raise typer.Exit(INFRASTRUCTURE if failures else 0)
