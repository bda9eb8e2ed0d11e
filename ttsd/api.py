"""What `import ttsd` offers: the command line's own functions, for scripts and notebooks.

    import ttsd

    answer = ttsd.solve("micro:numbers:5:7", "micro")
    for event in ttsd.events(my_question, ttsd.load_config(model="Qwen/Qwen3-4B", overrides=["budget.attempts=64"])):
        ...
    frames = ttsd.read_record("ttsd.sqlite")

`asolve` and `aevents` are for code that has an event loop. A run is stored and resumed as the command line's is: the
same question, seed and settings are the same run.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import operator
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import problems
from problems import Case, Problem
from problems.folder import first_line
from problems.problem import checked
from ttsd.config import Config, expanded, flat, load_config
from ttsd.errors import InfrastructureError, TtsdError, UserError
from ttsd.loop import Event
from ttsd.methods import method_named
from ttsd.nouns import Attempt, Step, Verdict
from ttsd.record.protocol import Answer
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.reporting.board import QuietView
from ttsd.running.fitting import fitted_here
from ttsd.running.preview import Preview
from ttsd.running.preview import preview as preview_runs
from ttsd.running.solve import Talk
from ttsd.running.solve import solve as run_one
from ttsd.sampling.background import in_thread

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = [
    "Answer",
    "Attempt",
    "Config",
    "Event",
    "Frames",
    "InfrastructureError",
    "Preview",
    "Problem",
    "Step",
    "TtsdError",
    "UserError",
    "Verdict",
    "aevents",
    "apreview",
    "asolve",
    "events",
    "export",
    "load_config",
    "preview",
    "question",
    "read_record",
    "solve",
]

Score = float | bool | tuple[float, str]


def question(
    statement: str,
    *,
    name: str,
    cases: Iterable[tuple[Any, Any]] = (),
    judge: Callable[[str], Score] | None = None,
    entry_point: str | None = None,
    title: str = "",
) -> Problem:
    """Makes a question of your own. `name` is what the run database calls it.

    `cases`: pairs of what a program reads and prints; with `entry_point`, of a function's list of arguments and its
    result. Or `judge`: a function of the whole answer that returns a score (1 is right), or a score and feedback. It
    runs in a process of its own, which imports its file: it must be a function of a module, not of a notebook's cell.
    UserError: there is neither, or they can't be used.
    """
    if judge is not None:
        made, place = [Case("", "", public=True)], _place(judge)
    else:
        made, place = [_case(pair, entry_point is not None) for pair in cases], None
    if not name.strip():
        raise UserError("the question has no name; give one with name=, by which the run database knows it")
    with _refusals():
        starter = first_line(entry_point, made) if entry_point else ""
        return checked(Problem(name, title or name, statement, tuple(made), entry_point, starter, judge=place))


def _case(pair: Any, of_function: bool) -> Case:
    """Returns a case made of a pair. UserError: it is none, or has what JSON can't say."""
    form = "a list of arguments and a result" if of_function else "an input and an output"
    if not isinstance(pair, tuple | list) or len(pair) != 2 or (of_function and not isinstance(pair[0], tuple | list)):
        raise UserError(f"the case {pair!r} is no pair of {form}; give each case as ({form.replace(' and ', ', ')})")
    if not of_function:
        return Case(str(pair[0]), str(pair[1]))
    try:
        return Case("\n".join(map(json.dumps, pair[0])), json.dumps(pair[1]))
    except (TypeError, ValueError) as error:
        raise UserError(f"the case {pair!r} can't be written as JSON ({error}); use numbers, texts and lists") from None


async def asolve(
    question: str | Problem,
    config: Config | str | None = None,
    *,
    method: str | None = None,
    seed: int = 0,
    label: str | None = None,
    fresh: bool = False,
    view: Talk | None = None,
) -> Answer:
    """Runs a method on one question until a discovery or the end of the budget.

    `question`: a name as the command line takes it, or an object. `config`: settings, the name of a shipped
    configuration, or a file. `method`: a name of the table; None: the one that the settings name. `label`: your own
    name for the run.
    """
    view = view or QuietView()
    run, line = await _asked(question, config, method, seed)
    if line:
        view.say(line)
    return await run_one(replace(run, label=label), fresh=fresh, view=view)


async def apreview(
    question: str | Problem,
    config: Config | str | None = None,
    *,
    method: str | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> Preview:
    """Returns the memory that the same `asolve` needs and the prompts that it answers next. Starts nothing."""
    run, line = await _asked(question, config, method, seed)
    found = await preview_runs([run], run.config, fresh=fresh)
    return replace(found, memory=f"{line}\n{found.memory}") if line and found.memory else found


def preview(question: str | Problem, config: Config | str | None = None, **options: Any) -> Preview:
    """Does what `apreview` does. UserError: an event loop runs here."""
    _refuse_loop("apreview")
    return asyncio.run(apreview(question, config, **options))


async def _asked(
    question: str | Problem, config: Config | str | None, method: str | None, seed: int
) -> tuple[Run, str]:
    """Returns the run, its settings fitted to this machine, and a line on what was chosen (empty: nothing)."""
    try:
        seed = operator.index(seed)
    except TypeError:
        raise UserError(f"seed={seed!r} is no whole number; give one") from None
    with _refusals():
        problem = question if isinstance(question, Problem) else problems.load(str(question))
    settings = config if isinstance(config, Config) else load_config(config)
    chosen = method_named(method or settings.method)
    fit = await in_thread(fitted_here, settings, [problem.name], [chosen])
    return Run(problem, fit.config.model_copy(update={"method": chosen.name}), seed), fit.line


@contextmanager
def _refusals() -> Iterator[None]:
    """Makes what `problems` refuses the caller's own mistake."""
    try:
        yield
    except problems.ProblemError as error:
        raise UserError(str(error)) from None


def solve(question: str | Problem, config: Config | str | None = None, **options: Any) -> Answer:
    """Does what `asolve` does. UserError: an event loop runs here."""
    _refuse_loop("asolve")
    return asyncio.run(asolve(question, config, **options))


def _refuse_loop(instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UserError(f"an event loop runs here, as in a notebook; write await ttsd.{instead}(...)")


async def aevents(
    question: str | Problem, config: Config | str | None = None, **options: Any
) -> AsyncGenerator[Event, None]:
    """Yields each judged `Attempt` once it is on disk and each `Step` once it is learned. Closing it stops the run."""
    waiting: asyncio.Queue[Event | None] = asyncio.Queue()
    running = asyncio.create_task(asolve(question, config, view=_Listener(waiting.put_nowait), **options))
    running.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (event := await waiting.get()) is not None:
            yield event
        await running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, TtsdError):
            await running


def events(question: str | Problem, config: Config | str | None = None, **options: Any) -> Generator[Event, None, None]:
    """Does what `aevents` does, where no event loop runs: the run goes on in a thread meanwhile."""
    waiting: queue.Queue[Event | BaseException | None] = queue.Queue()
    stop = threading.Event()

    async def listen() -> None:
        stream = aevents(question, config, **options)
        async for event in stream:
            waiting.put(event)
            if stop.is_set():
                break
        await stream.aclose()

    def work() -> None:
        try:
            asyncio.run(listen())
        except BaseException as error:
            waiting.put(error)
        else:
            waiting.put(None)

    thread = threading.Thread(target=work, name="ttsd-run")
    thread.start()
    try:
        while (event := waiting.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        stop.set()
        thread.join()


Frame = TypeVar("Frame")


@dataclass(frozen=True)
class Frames(Generic[Frame]):
    """A run database as data frames. Settings and metrics are one column a value."""

    runs: Frame
    steps: Frame
    attempts: Frame


@overload
def read_record(
    path: str | Path = "ttsd.sqlite", *, library: Literal["pandas"] = "pandas"
) -> Frames[pandas.DataFrame]: ...


@overload
def read_record(path: str | Path = "ttsd.sqlite", *, library: Literal["polars"]) -> Frames[polars.DataFrame]: ...


def read_record(path: str | Path = "ttsd.sqlite", *, library: str = "pandas") -> Frames[Any]:
    """Reads the run database into frames of `library`, also while runs go on.

    UserError: there is no such database, ttsd did not make it, or the library is not installed.
    """
    if library not in ("pandas", "polars"):
        raise UserError(f"library={library!r} makes no data frames; use 'pandas' or 'polars'")
    try:
        made_by = importlib.import_module(library)
    except ImportError:
        raise UserError(
            f"{library} is not installed: pip install {library}, or use the other of pandas, polars"
        ) from None
    # What only some rows have, or have as another type, is no reason to fail.
    lenient = {"infer_schema_length": None, "strict": False} if library == "polars" else {}
    with Store.read_only(expanded(str(path))) as store:
        tables = (_columns(store, table) for table in ("runs", "steps", "attempts"))
        return Frames(*(made_by.DataFrame(columns, **lenient) for columns in tables))


def export(run: int, folder: str | Path, path: str | Path = "ttsd.sqlite", *, model: str | None = None) -> Path:
    """Writes a run's adapter as a new PEFT folder, for `peft` and `vllm serve --lora-modules`.

    `model`: the run's model, unless it is the bundled one; a database alone has none loaded.
    UserError: the run has no adapter, `folder` exists, or the run's model is another.
    """
    from ttsd.reporting.export import export as write

    with Store.read_only(expanded(str(path))) as store:
        return write(store, run, Path(expanded(str(folder))), model)


class _Listener(QuietView):
    """Passes on what it is shown."""

    def __init__(self, pass_on: Callable[[Event], None]) -> None:
        super().__init__()
        self._pass_on = pass_on

    def show(self, event: Event) -> None:
        super().show(event)
        self._pass_on(event)


def _place(judge: Callable[[str], Score]) -> str:
    """Returns `FILE.py:FUNCTION`, from which another process can import the judge."""
    name, file = getattr(judge, "__qualname__", ""), None
    with suppress(TypeError):
        file = inspect.getsourcefile(judge)
    if not name.isidentifier() or file is None or not Path(file).is_file():
        raise UserError(f"the judge {name or judge!r} is no function of a module; define it in a file of its own")
    if judge.__module__ == "__main__" and "__name__" not in Path(file).read_text("utf-8", "replace"):
        raise UserError(
            f"the judge {name!r} runs in a process that imports {file} again: put what the script does behind "
            'if __name__ == "__main__", or define the judge in a file of its own'
        )
    return f"{Path(file).resolve()}:{name}"


def _columns(store: Store, table: str) -> dict[str, list[Any]]:
    """Returns a table's columns; settings and metrics are one column a value, named after both."""
    names = [name for (name,) in store.query("select name from pragma_table_info(?)", [table])]
    rows = store.rows(f"select * from {table}")
    for name in {"config", "metrics", "seconds"} & {*names}:
        names.remove(name)
        for row in rows:
            row |= flat(json.loads(row.pop(name) or "{}"), f"{name}.")
    wanted = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in wanted}
