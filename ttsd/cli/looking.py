"""Commands that look at the record: show, report, export."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.options import ConfigOption, JsonOption, SetOption, settings_of
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.running.store import Store


def show(
    run: Annotated[int | None, typer.Argument(help="A run's number; without it, all runs.")] = None,
    attempt: Annotated[int | None, typer.Option(help="One attempt: what was read, answered, said and learnt.")] = None,
    step: Annotated[int | None, typer.Option(help="One step: its numbers and its attempts.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --attempt: the teacher's and the student's word on each token.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="With --attempt: write the tokens in colour as a page.", metavar="FILE")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, or look closely at one.

    Without a number all runs of the database; with one its attempts; --attempt and --step look closer.
    """
    from ttsd.reporting.live import print_table
    from ttsd.running.store import Store

    settings = settings_of(config, set_)
    if run is None and (attempt is not None or step is not None):
        raise UserError("--attempt and --step need a run's number, as in ttsd show 3 --attempt 17")
    if attempt is None and (tokens or html is not None):
        raise UserError(
            f"{'--tokens' if tokens else '--html'} needs an attempt, as in ttsd show 3 --attempt 17 --tokens"
        )
    with Store.existing(settings.store.path, settings.store.state_dir) as store:
        if run is not None and (attempt is not None or step is not None):
            _show_closely(store, run, attempt, step, tokens, html)
        elif as_json:
            runs = [row["run"] for row in store.runs()] if run is None else [run]
            answers = [asdict(store.answer(number)) for number in runs]
            print(json.dumps(answers if run is None else answers[0]))
        else:
            print_table(store.overview() if run is None else store.attempt_overview(run))


def _show_closely(
    store: Store, run: int, attempt: int | None, step: int | None, tokens: bool, html: Path | None
) -> None:
    from ttsd.reporting import show as texts
    from ttsd.reporting.attempt import attempt_view, step_view
    from ttsd.reporting.live import print_table
    from ttsd.reporting.token_scores import scored_tokens, token_rows

    if step is not None:
        view = step_view(store, run, step)
        print(texts.step_text(view))
        print_table(view.attempts)
    if attempt is not None and html is not None:
        from ttsd.reporting.report.attempt_page import attempt_page

        html.write_text(attempt_page(attempt_view(store, run, attempt), *scored_tokens(store, run, attempt)), "utf-8")
        print(html)
    elif attempt is not None:
        print(texts.attempt_text(attempt_view(store, run, attempt)))
        if tokens:
            scored, weights = scored_tokens(store, run, attempt)
            print(f"\ntokens, scored by {weights}")
            print_table(token_rows(scored))


def report(
    out: Annotated[Path, typer.Argument(help="The folder for the page, the figure and the tables.")] = Path("report"),
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods: discovery@k and costs.

    Per question and pooled, as an HTML page, PNG and SVG, CSV and JSON of every number drawn, and a table here.
    """
    from ttsd.reporting.live import print_table
    from ttsd.reporting.report import build_report
    from ttsd.running.store import Store

    settings = settings_of(config, set_)
    with Store.existing(settings.store.path, settings.store.state_dir) as store:
        files = build_report(store, out)
    if as_json:
        print(files.json.read_text("utf-8"))
        return
    print_table(files.summary)
    print("\n".join(files.verdicts))
    print(f"{files.html}", file=sys.stderr)


def export(
    run: Annotated[int, typer.Argument(help="A run's number.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run's adapter out as a PEFT folder with a card."""
    from ttsd.reporting.export import export as work
    from ttsd.running.store import Store

    settings = settings_of(config, set_)
    with Store.existing(settings.store.path, settings.store.state_dir) as store:
        print(work(store, run, out))
