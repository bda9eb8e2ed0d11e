"""Commands on the bundled model and suite: `ttsd micro ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttsd.errors import Stopped, UserError

micro_app = typer.Typer(no_args_is_help=True, help="Rebuild and measure the bundled model.")


@micro_app.command()
def train(
    out: Annotated[Path, typer.Option(help="The model folder to write.", metavar="FOLDER")],
    seed: Annotated[int, typer.Option(help="Seed of corpus, tokenizer and weights.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from FOLDER.checkpoint.")] = False,
) -> None:
    """Build tokenizer, corpus and weights from a seed: about 25 minutes on two cores."""
    from ttsd.micro.training import Recipe
    from ttsd.micro.training import train as work

    try:
        work(Recipe(seed=seed), out, resume=resume)
    except Stopped:
        raise Stopped("stopped; the same command with --resume continues from the last checkpoint") from None


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
