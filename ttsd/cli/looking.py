"""Commands on what is in the run database: show, report, delete, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.completion import method_names, question_names
from ttsd.cli.options import ConfigOption, JsonOption, SetOption, expand, settings_of
from ttsd.errors import UserError
from ttsd.terminal import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ttsd.record.store import Row, Store

STATES = ("running", "interrupted", "discovered", "attempts spent", "tokens spent", "seconds spent")
ATTEMPT_LESS = ("tokens", "step", "hidden")  # columns that a narrow terminal goes without


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
        Path | None,
        typer.Option(help="With --attempt: write the tokens in colour as a page.", metavar="FILE", callback=expand),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Only runs whose question contains this.", autocompletion=question_names)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Only runs whose method contains this.", autocompletion=method_names)
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state: running, interrupted, discovered, spent.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest runs, or the last attempts.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs; with a number its attempts; --attempt, --step and --diff look closer."""
    from ttsd.record.store import Store

    _check_filters(method, state)
    if (close := sum(one is not None for one in (attempt, step, diff))) > 1 or (close and run is None):
        raise UserError("give one of --attempt, --step and --diff with a run's number, as in ttsd show 3 --attempt 17")
    if attempt is None and (tokens or html is not None):
        raise UserError(f"{'--tokens' if tokens else '--html'} needs an attempt, as in --attempt 17")
    settings = settings_of(config, set_)
    with Store.read_only(settings.store.path, settings.store.state_dir) as store:
        if run is None:
            _show_runs(store, {"question": question, "method": method, "status": state}, limit, as_json)
        elif attempt is not None:
            _show_attempt(store, run, attempt, settings.model.path, tokens, html, as_json)
        elif step is not None:
            _show_step(store, run, step, as_json)
        elif diff is not None:
            _show_difference(store, run, diff, as_json)
        else:
            _show_run(store, run, limit, as_json)


def _check_filters(method: str | None, state: str | None) -> None:
    """Checks what can fit no run at all. UserError: no method and no state contains it."""
    from ttsd.methods import METHODS, method_named

    if state is not None and not any(state in known for known in STATES):
        raise UserError(f"no run is ever {state!r}; a run is {', '.join(STATES)}")
    if method is not None and not any(method in name for name in METHODS):
        method_named(method)


def _show_runs(store: Store, wanted: dict[str, str | None], limit: int | None, as_json: bool) -> None:
    from ttsd.reporting.as_json import run_json
    from ttsd.reporting.attempt import run_rows
    from ttsd.reporting.live import print_table

    rows = [row for row in run_rows(store) if all((text or "") in row[name] for name, text in wanted.items())]
    rows = rows[-limit:] if limit is not None else rows
    if as_json:
        print(json_text([run_json(store, row["run"]) for row in rows]))
    else:
        print_table(rows, less=("model", "label", "steps", "started", "seed", "budget", "best", "attempts", "method"))


def _show_run(store: Store, run: int, limit: int | None, as_json: bool) -> None:
    from ttsd.reporting.as_json import whole_run_json
    from ttsd.reporting.attempt import attempt_rows, run_row
    from ttsd.reporting.live import print_table
    from ttsd.reporting.show import run_text

    if as_json:
        print(json_text(whole_run_json(store, run)))
        return
    print(run_text(run_row(store, run), tuple(store.steps(run))))
    print_table(_in_words(attempt_rows(store, run)[-limit if limit is not None else 0 :]), less=ATTEMPT_LESS)


def _show_step(store: Store, run: int, step: int, as_json: bool) -> None:
    from ttsd.reporting.as_json import step_json
    from ttsd.reporting.attempt import step_view
    from ttsd.reporting.live import print_table
    from ttsd.reporting.show import step_text

    view = step_view(store, run, step)
    if as_json:
        print(json_text(step_json(view)))
        return
    print(step_text(view))
    print_table(_in_words(view.attempts), less=ATTEMPT_LESS)


def _in_words(rows: Iterable[Row]) -> list[Row]:
    """Returns attempts for a table: the verdict in words, and which is the discovery."""
    return [row | {"verdict": row["verdict"].replace("accepted", "discovery").replace("_", " ")} for row in rows]


def _show_difference(store: Store, run: int, pair: tuple[int, int], as_json: bool) -> None:
    from ttsd.reporting.as_json import difference_json
    from ttsd.reporting.attempt import attempt_of
    from ttsd.reporting.show import difference_text

    before, after = (attempt_of(store, run, number) for number in pair)
    text = difference_text(before, after)
    print(json_text(difference_json(before, after, text)) if as_json else text)


def _show_attempt(
    store: Store, run: int, attempt: int, model: str, tokens: bool, html: Path | None, as_json: bool
) -> None:
    from ttsd.reporting.as_json import attempt_json
    from ttsd.reporting.attempt import attempt_view, check_model
    from ttsd.reporting.live import print_table
    from ttsd.reporting.show import attempt_text
    from ttsd.reporting.token_scores import scored_tokens, token_rows

    if tokens or html is not None:
        check_model(store, run, model)
    if html is not None:
        return _write_attempt_page(store, run, attempt, html)
    view = attempt_view(store, run, attempt)
    scored, weights = scored_tokens(store, run, attempt) if tokens else ([], "")
    if as_json:
        print(json_text(attempt_json(view, scored)))
        return
    print(attempt_text(view))
    if tokens:
        print(f"\ntokens, scored by {weights}")
        print_table(token_rows(scored))


def _write_attempt_page(store: Store, run: int, attempt: int, file: Path) -> None:
    from ttsd.reporting.attempt import attempt_view
    from ttsd.reporting.report.attempt_page import attempt_page
    from ttsd.reporting.token_scores import recorded_tokens, scored_tokens

    recorded = recorded_tokens(store, run, attempt)
    scores = (recorded, "the weights of its step") if recorded else scored_tokens(store, run, attempt)
    file.write_text(attempt_page(attempt_view(store, run, attempt), *scores), "utf-8")
    print(file)


def report(
    out: Annotated[
        Path, typer.Argument(help="The folder for the page, the figure and the tables.", callback=expand)
    ] = Path("report"),
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


def delete(
    run: Annotated[int, typer.Argument(help="A run's number.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run, its attempts and its learner states out of the run database; there is no way back."""
    from ttsd.record.store import Store

    settings = settings_of(config, set_)
    Store.read_only(settings.store.path, settings.store.state_dir).close()
    with Store(settings.store.path, settings.store.state_dir) as store:
        answer = store.answer(run)
        store.delete(run)
    print(f"run {run} is gone: {answer.question}, {answer.method}, {answer.attempts} attempts", file=sys.stderr)


def export(
    run: Annotated[int, typer.Argument(help="A run's number.")],
    out: Annotated[Path, typer.Argument(help="The new folder.", callback=expand)],
    step: Annotated[int | None, typer.Option(min=1, help="After this step; without it, after the last.")] = None,
    best: Annotated[bool, typer.Option("--best", help="After the step that the run was best with.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="A whole model: the adapter added to its base.")] = False,
    push: Annotated[
        str | None, typer.Option(help="Also upload the folder to this hub repository.", metavar="ORG/NAME")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run's adapter out as a PEFT folder, or as a whole model, with a model card."""
    from ttsd.record.store import Store
    from ttsd.reporting.export import check_push
    from ttsd.reporting.export import export as work
    from ttsd.reporting.export import push as upload

    if best and step is not None:
        raise UserError("give one of --step and --best")
    if push is not None:
        check_push(push)
    settings = settings_of(config, set_)
    with Store.read_only(settings.store.path, settings.store.state_dir) as store:
        print(work(store, run, out, settings.model.path, step=step, best=best, merge=merge))
    if push is not None:
        print(upload(out, push))
