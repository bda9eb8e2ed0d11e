"""Commands that read the run database: show, report, export."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.completion import question_names
from ttsd.cli.options import ConfigOption, JsonOption, SetOption, settings_of
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.record.store import Store


def show(
    run: Annotated[int | None, typer.Argument(help="A run's number; without it, all runs.")] = None,
    attempt: Annotated[
        int | None, typer.Option(help="One attempt: its prompt, answer, feedback and teacher's prompt.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="One step: its numbers and its attempts.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --attempt: what student and teacher think of each token.")
    ] = False,
    diff: Annotated[
        tuple[int, int] | None, typer.Option(help="Two attempts: what changed from one to the other.", metavar="A B")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --attempt: write the tokens in colour as a page.", metavar="FILE")
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Only runs whose question contains this.", autocompletion=question_names)
    ] = None,
    method: Annotated[str | None, typer.Option(help="Only runs whose method contains this.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state: running, interrupted, discovered, spent.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest runs, or the last attempts.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, or look closely at one.

    Without a number the runs of the database; with one its attempts; --attempt, --step and --diff look closer.
    """
    from ttsd.record.store import Store
    from ttsd.reporting.attempt import check_model

    settings = settings_of(config, set_)
    close = attempt is not None or step is not None or diff is not None
    if run is None and close:
        raise UserError("--attempt, --step and --diff need a run's number, as in ttsd show 3 --attempt 17")
    if attempt is None and (tokens or html is not None):
        raise UserError(f"{'--tokens' if tokens else '--html'} needs an attempt, as in --attempt 17")
    with Store.read_only(settings.store.path, settings.store.state_dir) as store:
        if run is None:
            wanted = {"question": question, "method": method, "status": state}
            _show_runs(store, {name: text for name, text in wanted.items() if text is not None}, limit, as_json)
        elif close:
            if tokens or html is not None:
                check_model(store, run, settings.model.path)
            _show_closely(store, run, attempt, step, diff, tokens, html)
        else:
            _show_run(store, run, limit, as_json)


def _show_runs(store: Store, wanted: dict[str, str], limit: int | None, as_json: bool) -> None:
    from ttsd.reporting.attempt import run_rows
    from ttsd.reporting.live import print_table

    rows = [row for row in run_rows(store) if all(text in str(row[name]) for name, text in wanted.items())]
    rows = rows[-limit:] if limit is not None else rows
    if as_json:
        print(json.dumps([asdict(store.answer(row["run"])) for row in rows]))
    else:
        print_table(rows)


def _show_run(store: Store, run: int, limit: int | None, as_json: bool) -> None:
    from ttsd.reporting.attempt import attempt_rows, run_row
    from ttsd.reporting.live import print_table
    from ttsd.reporting.show import run_text

    if as_json:
        print(json.dumps(asdict(store.answer(run))))
        return
    print(run_text(run_row(store, run), tuple(store.steps(run))))
    print_table(attempt_rows(store, run)[-limit if limit is not None else 0 :])


def _show_closely(
    store: Store,
    run: int,
    attempt: int | None,
    step: int | None,
    diff: tuple[int, int] | None,
    tokens: bool,
    html: Path | None,
) -> None:
    from ttsd.reporting import show as texts
    from ttsd.reporting.attempt import attempt_of, attempt_view, step_view
    from ttsd.reporting.live import print_table
    from ttsd.reporting.token_scores import recorded_tokens, scored_tokens, token_rows

    if step is not None:
        view = step_view(store, run, step)
        print(texts.step_text(view))
        print_table(view.attempts)
    if diff is not None:
        print(texts.difference_text(*(attempt_of(store, run, number) for number in diff)))
    if attempt is not None and html is not None:
        from ttsd.reporting.report.attempt_page import attempt_page

        recorded = recorded_tokens(store, run, attempt)
        scores = (recorded, "the weights of its step") if recorded else scored_tokens(store, run, attempt)
        html.write_text(attempt_page(attempt_view(store, run, attempt), *scores), "utf-8")
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

    Per question and pooled, as an HTML page, PNG and SVG, CSV and JSON of every number shown, and a table here.
    """
    from ttsd.record.store import Store
    from ttsd.reporting.live import print_table
    from ttsd.reporting.report import build_report

    settings = settings_of(config, set_)
    with Store.read_only(settings.store.path, settings.store.state_dir) as store:
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
    """Take a run's adapter out as a PEFT folder with a model card."""
    from ttsd.record.store import Store
    from ttsd.reporting.attempt import check_model
    from ttsd.reporting.export import export as work

    settings = settings_of(config, set_)
    with Store.read_only(settings.store.path, settings.store.state_dir) as store:
        check_model(store, run, settings.model.path)
        print(work(store, run, out))
