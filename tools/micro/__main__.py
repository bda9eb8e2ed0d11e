"""Rebuilds and measures the bundled model: `python -m tools.micro train` and `evaluate`; `make micro` does both."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.micro.evaluation import markdown, table, write_subsets
from tools.micro.model import load
from tools.micro.training import train


def main() -> None:
    """Runs the subcommand that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.micro", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="build tokenizer, corpus and weights: 25 minutes on two cores")
    training.add_argument("folder", type=Path, help="the model folder to write")
    training.add_argument("--seed", type=int, default=0, help="of tokenizer, corpus and weights")
    evaluating = commands.add_parser("evaluate", help="print how likely a model is to write the right program")
    evaluating.add_argument("folder", type=Path, help="a model folder")
    evaluating.add_argument("--questions", type=int, default=24, help="how many are behind each row of the tables")
    evaluating.add_argument("--subsets", action="store_true", help="also choose the suite's lists for these weights")
    given = parser.parse_args()
    if given.command == "train":
        train(given.seed, given.folder)
    elif not (given.folder / "model.safetensors").is_file():
        parser.error(f"{str(given.folder)!r} is no model folder; give one that `python -m tools.micro train` wrote")
    else:
        evaluate(given.folder, given.questions, subsets=given.subsets)


def evaluate(folder: Path, questions: int, *, subsets: bool) -> None:
    """Prints the probability of the right program alone, with feedback and with a demonstration."""
    loaded = load(folder)
    for title, follows in (("attempts in a row, which use 9/10 of the feedback", 0.9), ("independent attempts", 0.0)):
        print(f"Feedback on {title}:\n\n{markdown(table(*loaded, questions=questions, follows=follows))}\n")
    if subsets:
        write_subsets(*loaded)


if __name__ == "__main__":
    main()
