"""Makes the pictures of the README and the documentation from runs of this very commit.

    python -m tools.pictures            docs/tokens.png: a failed attempt, token by token, and the right program
    python -m tools.pictures --methods  docs/methods.png as well: discovery@k of every method on one list

The tokens come from one run of `ttsd demo`'s question; a headless Chromium takes the picture. The methods take half an
hour on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jinja2 import Template

from ttsd.errors import UserError
from ttsd.nouns import Attempt
from ttsd.record.store import Store
from ttsd.reporting.report.attempt_page import coloured
from ttsd.reporting.report.page import code_style, highlighted, template_text
from ttsd.reporting.token_scores import Token, tokens_of

DOCS = Path(__file__).parents[1] / "docs"
QUESTION = "micro:lists:6:61"
QUESTIONS, ATTEMPTS = 12, 128  # of the comparison of methods
WIDTH, HEIGHT = 1000, 545
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGE = Path(__file__).with_name("tokens.html.jinja")


def main() -> None:
    """Makes the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture_tokens(Path(folder))
        if wanted.methods:
            picture_methods(Path(folder))


def picture_tokens(folder: Path) -> None:
    """Runs the demo's question in `folder` and writes docs/tokens.png."""
    ttsd(folder, "solve", QUESTION, "--method", "sdpo", "--set", "model.sampler=transformers")
    with Store.read_only(folder / "ttsd.sqlite") as store:
        attempts = store.attempts(1)
        found = next(attempt for attempt in attempts if attempt.verdict.accepted)
        failed, tokens = most_coloured(store, attempts[: found.number])
    page = folder / "tokens.html"
    page.write_text(
        Template(PAGE.read_text("utf-8")).render(
            style=template_text("style.css"),
            code_style=code_style(),
            width=WIDTH,
            failed=failed,
            tokens=coloured(tokens[:-1])["tokens"],  # but for the mark of the end
            feedback=failed.verdict.feedback.split("\n\n")[0],
            found=found,
            program=highlighted(found.program or ""),
        ),
        "utf-8",
    )
    photograph(page, DOCS / "tokens.png")


def most_coloured(store: Store, attempts: tuple[Attempt, ...]) -> tuple[Attempt, list[Token]]:
    """Returns the failed attempt with a program whose tokens the self-teacher most disagrees with."""
    choice = [
        (attempt, tokens)
        for attempt in attempts
        if attempt.program and attempt.verdict.feedback and (tokens := tokens_of(store, 1, attempt.number))
    ]
    return max(choice, key=lambda one: max(abs(token.advantage or 0.0) for token in one[1]))


def picture_methods(folder: Path) -> None:
    """Runs every method on the first questions of micro-hard and writes docs/methods.png."""
    from problems.subsets import questions

    chosen = questions(["micro-hard"])[:QUESTIONS]
    budget = ("--set", f"budget.attempts={ATTEMPTS}", "--set", "store.path=methods.sqlite")
    ttsd(folder, "batch", *chosen, "--methods", "all", *budget, "--set", "model.sampler=transformers")
    ttsd(folder, "report", "report", "--set", "store.path=methods.sqlite")
    shutil.copy(folder / "report" / "discovery.png", DOCS / "methods.png")


def ttsd(folder: Path, *arguments: str) -> None:
    """Runs the command line in `folder`; its progress goes to stderr."""
    subprocess.run([sys.executable, "-m", "ttsd", *arguments], cwd=folder, check=True, stdout=sys.stderr)


def photograph(page: Path, picture: Path) -> None:
    """Takes a picture of a page. UserError: no browser is installed."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise UserError(f"no browser takes the picture; install one of {', '.join(BROWSERS)}")
    size = f"--window-size={WIDTH},{HEIGHT}"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-device-scale-factor=1.5",
    ]
    subprocess.run([*command, size, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
