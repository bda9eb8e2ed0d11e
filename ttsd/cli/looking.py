"""Commands on what is in the run database: show, report, delete, export, view."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttsd.cli.completion import method_names, question_names
from ttsd.cli.options import ConfigOption, JsonOption, ModelOption, SetOption, expand, settings_of
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.record.store import Store

SPENT = tuple(f"{budget} spent" for budget in ("attempts", "tokens", "seconds", "dollars"))
STATES = ("running", "interrupted", "discovered", *SPENT)


def show(
    run: Annotated[int | None, typer.Argument(help="A run's number; without it, all runs.")] = None,
    attempt: Annotated[
        int | None, typer.Option(help="One attempt: its prompt, answer, feedback and teacher's prompt.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="One step: its numbers and its attempts.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --attempt: each token, and how much likelier the teacher found it.")
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
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs; with a number its attempts; --attempt, --step and --diff look closer."""
    from ttsd.reporting import answers

    _check_filters(method, state)
    _check_closer(run, attempt, step, diff)
    if attempt is None and (tokens or html is not None):
        raise UserError(f"{'--tokens' if tokens else '--html'} needs an attempt, as in --attempt 17")
    settings = settings_of(config, set_, model=model)
    with _opened(settings) as store:
        if run is None:
            answers.show_runs(store, {"question": question, "method": method, "status": state}, limit, as_json)
        elif attempt is not None:
            answers.show_attempt(store, run, attempt, settings.model.path, tokens, html, as_json)
        elif step is not None:
            answers.show_step(store, run, step, as_json)
        elif diff is not None:
            answers.show_difference(store, run, diff, as_json)
        else:
            answers.show_run(store, run, limit, as_json)


def _opened(settings: Config) -> Store:
    from ttsd.record.store import Store

    return Store.read_only(settings.store.path, settings.store.state_dir)


def _check_closer(run: int | None, *looks: object) -> None:
    if (given := sum(one is not None for one in looks)) > 1 or (given and run is None):
        raise UserError("give one of --attempt, --step and --diff with a run's number, as in ttsd show 3 --attempt 17")


def _check_filters(method: str | None, state: str | None) -> None:
    """Checks what can fit no run at all. UserError: no method and no state contains it."""
    from ttsd.methods import METHODS, method_named

    if state is not None and not any(state in known for known in STATES):
        raise UserError(f"there is no state {state!r}; choose one of {', '.join(STATES)}, or spent for all the last")
    if method is not None and not any(method in name for name in METHODS):
        method_named(method)


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
    from ttsd.reporting.live import print_table
    from ttsd.reporting.report import build_report

    settings = settings_of(config, set_)
    with _opened(settings) as store:
        files = build_report(store, out)
    if as_json:
        print(files.json.read_text("utf-8"))
        return
    print_table(files.summary)
    print("\n".join([*files.verdicts, *files.unconfirmed]))
    print(f"{files.html}", file=sys.stderr)


def delete(
    run: Annotated[int, typer.Argument(help="A run's number.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run, its attempts and its learner states out of the run database; there is no way back."""
    from ttsd.record.store import Store

    settings = settings_of(config, set_)
    _opened(settings).close()  # it is there, and ours
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
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run's adapter out as a PEFT folder, or as a whole model, with a model card."""
    from ttsd.reporting.export import check_push
    from ttsd.reporting.export import export as work
    from ttsd.reporting.export import push as upload

    if best and step is not None:
        raise UserError("give one of --step and --best")
    if push is not None:
        check_push(push)
    settings = settings_of(config, set_, model=model)
    with _opened(settings) as store:
        print(work(store, run, out, settings.model.path, step=step, best=best, merge=merge))
    if push is not None:
        print(upload(out, push))


def view(
    database: Annotated[
        list[Path] | None,
        typer.Argument(help="Databases; default: that of the settings.", metavar="[FILE.sqlite]...", callback=expand),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = 0,
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Follow the record in a browser while runs go on: runs, live curves, steps, attempts with what was read.

    Prints an address on this machine that holds a secret; without the secret nothing is shown, and nobody can write.
    From another machine: `ssh -L PORT:127.0.0.1:PORT`. Ctrl-C ends it.
    """
    from ttsd.reporting.view import serve

    settings = settings_of(config, set_, model=model)
    store = settings.store
    chosen = [(path, None) for path in database or []]
    usual = [(Path(store.path), Path(store.state_dir) if store.state_dir else None)]
    serve(chosen or usual, port=port, ready=_announce, model=settings.model.path)


def _announce(address: str) -> None:
    print(address, flush=True)
    print("open this address in a browser on this machine; Ctrl-C ends it", file=sys.stderr)
