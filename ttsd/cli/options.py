"""What commands share: options, settings, exit statuses, and running asynchronous work until a stop is requested."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ttsd.cli.completion import config_names, method_names, model_names, question_names, subset_names
from ttsd.cli.stopping import stop_requests
from ttsd.errors import Stopped
from ttsd.terminal import say

if TYPE_CHECKING:
    from ttsd.config import Config
    from ttsd.methods import Method

DISCOVERED, EXHAUSTED, USER_ERROR, INFRASTRUCTURE = 0, 1, 2, 3  # and 130 or 143, stopped
RESUMABLE = "everything is on disk, and the same command resumes"


def expand(value: Any) -> Any:
    """Replaces `~` and variables of the environment in the paths of an option or argument."""
    from ttsd.config import expanded

    if isinstance(value, list | tuple):
        return [expand(one) for one in value]
    return type(value)(expanded(str(value))) if isinstance(value, str | Path) else value


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A name on the Hugging Face hub, a folder, a GGUF file, or micro (bundled).",
        metavar="MODEL",
        autocompletion=model_names,
    ),
]
ConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        help="A shipped configuration's name, or a TOML file. Several are merged, left to right.",
        metavar="NAME|PATH",
        autocompletion=config_names,
    ),
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget", min=1, help="Attempts of a run at most: budget.attempts.", metavar="N")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, as in budget.attempts=64.", metavar="SECTION.KEY=VALUE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe-no-sandbox", help="Run programs without the sandbox (recorded with the run).")
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Stop after the memory needed and the next prompts: no engine starts, no row is written."
    ),
]
QuestionArgument = Annotated[
    str,
    typer.Argument(
        help="micro:ID, lcb:ID, FILE.jsonl#ID or a folder.",
        metavar="QUESTION",
        autocompletion=question_names,
        callback=expand,
    ),
]
SubsetArgument = Annotated[
    list[str],
    typer.Argument(
        help="A subset's name, a TOML file, or questions.",
        metavar="SUBSET...",
        autocompletion=subset_names,
        callback=expand,
    ),
]
SeedsOption = Annotated[int, typer.Option(min=1, help="Runs of each method on each question: seeds 0 to N-1.")]
MethodOption = Annotated[
    str | None,
    typer.Option(help="A name of `ttsd methods`; default: the settings' own.", autocompletion=method_names),
]
AtOnceOption = Annotated[
    int | None, typer.Option(min=1, help="Runs that share an engine at one time; default: what its memory holds.")
]
LabelOption = Annotated[
    str | None, typer.Option(help="Your own name for the runs, which `ttsd show` lists.", metavar="NAME")
]
T = TypeVar("T")


def settings_of(
    config: list[str] | None,
    overrides: list[str] | None,
    unsafe_no_sandbox: bool = False,
    *,
    model: str | None = None,
    budget: int | None = None,
) -> Config:
    """The configuration that --config, --model, --budget, --set and --unsafe-no-sandbox ask for."""
    from ttsd.config import load_config

    first = [f"budget.attempts={budget}"] if budget is not None else []
    last = ["judge.unsafe_no_sandbox=true"] if unsafe_no_sandbox else []
    settings = load_config(config, [*first, *(overrides or []), *last], model=model)
    warn_of_no_sandbox(settings, "--unsafe-no-sandbox" if unsafe_no_sandbox else ", ".join(config or []))
    return settings


def warn_of_no_sandbox(settings: Config, named: str) -> None:
    """Says what switches the sandbox off, where something does: `named`, or a setting on the command line."""
    if settings.judge.unsafe_no_sandbox:
        where = named or "--set judge.unsafe_no_sandbox"
        say(f"warning: {where} switches the sandbox off: programs of the model run with all your rights")


def fit(settings: Config, questions: Sequence[str], methods: Sequence[Method]) -> Config:
    """The settings for this machine; what was chosen is said on stderr."""
    from ttsd.running.fitting import fitted_here
    from ttsd.sampling.background import in_thread

    fitted = run(in_thread(fitted_here, settings, questions, methods))
    if fitted.line:
        say(fitted.line)
    return fitted.config


def run(work: Coroutine[Any, Any, T], *, afterwards: str = "") -> T:
    """`asyncio.run`; a request to stop cancels the work, which cleans up after itself.

    `afterwards`: what to do then, in words.
    """

    async def stoppable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with stop_requests.answered_by(partial(loop.call_soon_threadsafe, task.cancel)):
            return await work

    try:
        return asyncio.run(stoppable())
    except BaseException:
        if stop_requests.received is None:
            raise
        raise Stopped("; ".join(filter(None, ["stopped", afterwards]))) from None
