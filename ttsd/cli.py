"""The command line: `ttsd COMMAND`. Answers go to stdout, talk goes to stderr. The door to typer.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ttsd.errors import Interrupted, TtsdError, UserError

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.store import Store

DISCOVERED, EXHAUSTED, USER_ERROR, INFRASTRUCTURE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    help="Trains a language model on ONE hard coding question, at test time, until it solves it.",
)

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", "-c", help="A shipped configuration's name, or a TOML file.", metavar="NAME|PATH"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, as in budget.attempts=64.", metavar="SECTION.KEY=VALUE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe-no-sandbox", help="Run programs without the sandbox (recorded with the run).")
]
QuestionArgument = Annotated[
    str, typer.Argument(help="micro:ID, lcb:ID, FILE.jsonl#ID or a folder.", metavar="QUESTION")
]
T = TypeVar("T")


@app.command()
def solve(
    question: QuestionArgument,
    method: Annotated[str, typer.Option(help="sdpo, grpo, best-of-k or multi-turn.")] = "sdpo",
    seed: Annotated[int, typer.Option(help="Seed of the engine, the adapter and the run.")] = 0,
    config: ConfigOption = None,
    set_: SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start another run instead of going on with a broken-off one.")
    ] = False,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on QUESTION until an attempt passes all tests.

    The discovered program goes to stdout; the run ends without one when the budget is spent.

    Exit status: 0 discovered, 1 budget spent, 2 a mistake of yours, 3 a fault of the machine, 130 interrupted
    (the same command goes on where it stopped).
    """
    from ttsd.live import view_for_stderr
    from ttsd.run import METHODS, Job
    from ttsd.solve import solve as run_solve

    settings = _settings(config, set_, unsafe_no_sandbox)
    with view_for_stderr() as view:
        answer = _run(run_solve(Job(question, METHODS[_method(method)], seed), settings, fresh=fresh, view=view))
    if as_json:
        print(json.dumps(asdict(answer)))
    elif answer.program is not None:
        print(answer.program.rstrip("\n"))
    raise typer.Exit(DISCOVERED if answer.discovered else EXHAUSTED)


@app.command()
def batch(
    subset: Annotated[
        list[str], typer.Argument(help="A subset's name, a TOML file, or questions.", metavar="SUBSET...")
    ],
    methods: Annotated[
        str, typer.Option(help="Comma-separated: sdpo, grpo, best-of-k, multi-turn.")
    ] = "sdpo,best-of-k",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method on each question: seeds 0 to N-1.")] = 1,
    windows: Annotated[
        str | None, typer.Option(help="Multi-turn once with each of these windows, as in 1,2,4.", metavar="N,N,...")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Runs that share the engine at one time.")] = 8,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run methods x seeds over a subset, many at once on one engine.

    The same command goes on with what was broken off and repeats nothing. Exit status: 0 all runs came to their end,
    2 a mistake of yours, 3 at least one run failed, 130 interrupted.
    """
    from ttsd import batch as work
    from ttsd.live import overview_for_stderr
    from ttsd.run import METHODS
    from ttsd.subsets import questions

    settings = _settings(config, set_, unsafe_no_sandbox)
    chosen = [METHODS[_method(name.strip())] for name in methods.split(",")]
    wanted = work.plan(questions(subset), chosen, seeds, settings, _windows(windows))
    with overview_for_stderr() as overview:
        results = _run(work.batch(wanted, settings, runs_at_once=at_once, overview=overview))
    failures = [result for result in results if isinstance(result, work.Failure)]
    answers = [asdict(result) for result in results if not isinstance(result, work.Failure)]
    if as_json:
        print(json.dumps({"runs": answers, "failed": [asdict(failure) for failure in failures]}))
    else:
        _print_answers(answers)
    raise typer.Exit(INFRASTRUCTURE if failures else 0)


def _print_answers(answers: list[dict[str, Any]]) -> None:
    from ttsd.live import print_table

    print_table([{name: value for name, value in answer.items() if name != "program"} for answer in answers])


@app.command()
def judge(
    question: Annotated[str | None, typer.Argument(help="micro:ID, lcb:ID, FILE.jsonl#ID or a folder.")] = None,
    file: Annotated[str | None, typer.Argument(help="A Python file, or - for stdin.")] = None,
    batch: Annotated[
        str | None,
        typer.Option(help='Judge many: lines {"question": ..., "program": ...}, - for stdin.', metavar="FILE.jsonl"),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a program by hand on all tests of QUESTION. Exit status 0 if it is accepted, 1 if not.

    With --batch, one verdict object a line, in order; the exit status is 0 whatever they say.
    """
    from ttsd import by_hand

    settings = _settings(config, set_, unsafe_no_sandbox)
    if batch is not None:
        if question is not None:
            raise UserError(f"--batch names its questions in the file; leave out {question!r}")
        _run(_judge_batch(batch, settings))
        return
    if question is None or file is None:
        raise UserError("ttsd judge needs a question and a Python file (or - for stdin), or --batch FILE.jsonl")
    verdict = _run(by_hand.judge_program(question, by_hand.read_program(file, sys.stdin), settings))
    if as_json:
        print(json.dumps(verdict))
    else:
        print(f"{verdict['verdict'].replace('_', ' ')}: {verdict['passed']} of {verdict['total']} cases passed")
        if verdict["feedback"]:
            print(f"\n{verdict['feedback']}")
    raise typer.Exit(0 if verdict["accepted"] else 1)


async def _judge_batch(path: str, settings: Config) -> None:
    from ttsd import by_hand

    lines = by_hand.read_lines(path, sys.stdin)
    async with aclosing(by_hand.judge_batch(lines, settings)) as judgements:
        async for judgement in judgements:
            print(json.dumps(judgement), flush=True)


@app.command()
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
    from ttsd.live import print_table
    from ttsd.store import Store

    settings = _settings(config, set_)
    if run is None and (attempt is not None or step is not None):
        raise UserError("--attempt and --step need a run's number, as in ttsd show 3 --attempt 17")
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
    from ttsd import show as looks
    from ttsd.live import print_table

    if step is not None:
        view = looks.step_view(store, run, step)
        print(looks.step_text(view))
        print_table(view.attempts)
    if attempt is not None and html is not None:
        from ttsd.report.attempt import attempt_page

        html.write_text(
            attempt_page(looks.attempt_view(store, run, attempt), *looks.scored_tokens(store, run, attempt))
        )
        print(html)
    elif attempt is not None:
        print(looks.attempt_text(looks.attempt_view(store, run, attempt)))
        if tokens:
            scored, weights = looks.scored_tokens(store, run, attempt)
            print(f"\ntokens, scored by {weights}")
            print_table(looks.token_rows(scored))


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The folder for the page, the figure and the tables.")] = Path("report"),
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods: discovery@k and costs.

    Per question and pooled, as an HTML page, PNG and SVG, CSV and JSON of every number drawn, and a table here.
    """
    from ttsd.live import print_table
    from ttsd.report import build_report
    from ttsd.store import Store

    settings = _settings(config, set_)
    with Store.existing(settings.store.path, settings.store.state_dir) as store:
        files = build_report(store, out)
    if as_json:
        print(files.json.read_text("utf-8"))
        return
    print_table(files.summary)
    print("\n".join(files.verdicts))
    print(f"{files.html}", file=sys.stderr)


@app.command()
def export(
    run: Annotated[int, typer.Argument(help="A run's number.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take a run's adapter out as a PEFT folder with a card."""
    from ttsd.export import export as work
    from ttsd.store import Store

    settings = _settings(config, set_)
    with Store.existing(settings.store.path, settings.store.state_dir) as store:
        print(work(store, run, out))


@app.command()
def doctor(
    hot_swap: Annotated[
        bool, typer.Option("--hot-swap", help="Also start the configured engine and swap an adapter.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option(help="Instead: memory and time of a step on a card, as in h100-80.", metavar="CARD")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="With --plan: questions that share the engine.")] = 1,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works on this machine. Exit status 0 if all that is needed does (the plan fits), 3 if not."""
    from ttsd import doctor as work
    from ttsd.live import print_table

    settings = _settings(config, set_)
    if plan is not None:
        planned, fits = work.plan_for(settings, plan, questions)
        print(json.dumps({"fits": fits, "rows": planned})) if as_json else print_table(planned)
        raise typer.Exit(0 if fits else INFRASTRUCTURE)
    findings = work.examine(settings)
    if hot_swap:
        findings.append(_run(work.hot_swap(settings)))
    rows = [asdict(finding) for finding in findings]
    if as_json:
        print(json.dumps(rows))
    else:
        print_table([{**row, "works": "yes" if row["works"] else "NO"} for row in rows])
    raise typer.Exit(0 if all(finding.works for finding in findings) else INFRASTRUCTURE)


problems_app = typer.Typer(no_args_is_help=True, help="Look at questions.")
app.add_typer(problems_app, name="problems")


@problems_app.command("list")
def problems_list(
    subset: Annotated[str | None, typer.Argument(help="A subset's name; without it, the subsets.")] = None,
) -> None:
    """List the questions of a bundled subset, one name a line."""
    from problems import micro

    for name in micro.subsets() if subset is None else micro.subset(subset):
        print(name)


@problems_app.command("show")
def problems_show(question: QuestionArgument, as_json: JsonOption = False) -> None:
    """Print a question as the model reads it, and its tests."""
    import problems
    from ttsd.prompts import student_prompt

    problem = problems.load(question)
    if as_json:
        print(json.dumps(asdict(problem), default=dict))
        return
    print(f"{problem.title} ({problem.kind}, {len(problem.cases)} cases)\n\n{student_prompt(problem)}")
    for number, case in enumerate(problem.cases):
        print(
            f"\ncase {number}{' (public)' if case.public else ''}\n{case.input.rstrip()}\n->\n{case.expected.rstrip()}"
        )


def main() -> None:
    """Runs a command and turns what goes wrong into one sentence and an exit status."""
    from problems.problem import ProblemError
    from sandbox.interface import SandboxFault

    try:
        app()
    except (UserError, ProblemError) as error:
        _end(error, USER_ERROR)
    except Interrupted as error:
        _end(error, INTERRUPTED)
    except (TtsdError, SandboxFault) as error:
        _end(error, INFRASTRUCTURE)
    except Exception as error:
        if os.environ.get("TTSD_TRACEBACK"):
            raise
        _end(TtsdError(f"{type(error).__name__}: {error}; TTSD_TRACEBACK=1 shows where"), INFRASTRUCTURE)


def _settings(config: str | None, overrides: list[str] | None, unsafe_no_sandbox: bool = False) -> Config:
    from ttsd.config import load_config

    extra = ["judge.unsafe_no_sandbox=true"] if unsafe_no_sandbox else []
    return load_config(config, [*(overrides or []), *extra])


def _windows(text: str | None) -> list[int | None]:
    if text is None:
        return [None]
    if not all(part.strip().isdigit() and int(part) > 0 for part in text.split(",")):
        raise UserError(f"--windows {text!r} is not a list of numbers of attempts, as in 1,2,4")
    return [int(part) for part in text.split(",")]


def _method(name: str) -> str:
    from ttsd.run import METHODS

    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return name


def _end(error: Exception, status: int) -> None:
    print(f"ttsd: {error}", file=sys.stderr)
    sys.exit(status)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, with SIGTERM treated as Ctrl-C: the work is cancelled and cleans up after itself."""

    async def interruptible() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted("interrupted; the same command goes on from here") from None
