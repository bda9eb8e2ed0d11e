"""Rebuilds and measures the bundled model: `python -m tools.micro train` and `evaluate`; `make micro` does both."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.micro.evaluation import shown, table, write_subsets
from tools.micro.model import load
from tools.micro.training import Recipe, train


def main() -> None:
    """Runs the subcommand that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.micro", description=(__doc__ or "").strip())
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="tokenizer, corpus and weights from a seed: 25 minutes on two cores")
    training.add_argument("--out", type=Path, required=True, help="the model folder to write")
    training.add_argument("--seed", type=int, default=0, help="of corpus, tokenizer and weights")
    training.add_argument("--resume", action="store_true", help="continue from OUT.checkpoint")
    evaluating = commands.add_parser("evaluate", help="how likely a model is to write the right program")
    evaluating.add_argument("model", type=Path, help="a model folder")
    evaluating.add_argument("--questions", type=int, default=24, help="behind each row of the table")
    evaluating.add_argument("--subsets", action="store_true", help="also choose the suite's lists for these weights")
    given = parser.parse_args()
    if given.command == "train":
        train(Recipe(seed=given.seed), given.out, resume=given.resume)
    elif not (given.model / "model.safetensors").is_file():
        parser.error(f"{str(given.model)!r} is no model folder; give one that `python -m tools.micro train` wrote")
    else:
        evaluate(given.model, given.questions, subsets=given.subsets)


def evaluate(folder: Path, questions: int, *, subsets: bool) -> None:
    """Prints the probability of the right program alone, with feedback and with a demonstration."""
    loaded = load(folder)
    for title, heed in (("attempts in a row, which use 9/10 of the feedback", 0.9), ("independent attempts", 0.0)):
        print(f"Feedback on {title}:\n\n{shown(table(*loaded, questions=questions, heed=heed))}\n")
    if subsets:
        write_subsets(*loaded)


if __name__ == "__main__":
    main()
