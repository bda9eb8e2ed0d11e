"""What a run looks like while it runs, on stderr: a table that renews itself, or plain lines. The door to rich."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ttsd.loop import Event, Past
from ttsd.nouns import Rollout, Status, Step
from ttsd.reporting.alarms import alarms
from ttsd.running.batch import Failure
from ttsd.running.solve import ending
from ttsd.running.store import Answer

# Columns of the overview of many runs; a narrow terminal shows the first ones.
TITLES = ("run", "attempts", "best", "discovery", "doing", "loss", "adapter", "tokens/s")
NARROW, SHOWN_NARROW = 90, 5


@dataclass
class Board:
    """What has happened so far, as numbers."""

    run: int = 0
    question: str = ""
    budget: int = 0
    attempts: int = 0
    step: int = 0
    best_fraction: float = 0.0
    loss: float | None = None
    adapter_version: int = 0
    discovery: int | None = None
    tokens: int = 0
    verdicts: Counter[Status] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    metrics: list[Mapping[str, float]] = field(default_factory=list)
    group_size: int = 0
    stepped: int = 0

    def begin(self, run: int, question: str, past: Past, budget: int, group_size: int) -> None:
        self.run, self.question, self.budget, self.group_size = run, question, budget, group_size
        self.stepped = past.attempts
        self.attempts, self.step, self.adapter_version = past.attempts, past.steps, past.adapter_version
        for rollout in past.unfinished:
            self.add(rollout)
        self.tokens = 0  # those were not drawn in this process's time

    def add(self, event: Event) -> None:
        if isinstance(event, Rollout):
            self._rollout(event)
        else:
            self._step(event)

    def _rollout(self, rollout: Rollout) -> None:
        self.attempts += 1
        self.tokens += len(rollout.completion.token_ids)
        self.verdicts[rollout.verdict.status] += 1
        self.best_fraction = max(self.best_fraction, rollout.verdict.visible_fraction)
        if rollout.verdict.accepted:
            self.discovery = min(rollout.attempt, self.discovery or rollout.attempt)

    def _step(self, step: Step) -> None:
        self.metrics.append(step.metrics)
        self.step, self.adapter_version = step.number, step.adapter_version
        self.stepped = self.attempts
        self.loss = step.metrics.get("loss", self.loss)
        self.seconds["sample+judge"] += step.seconds["draw"]
        for name in ("step", "swap"):
            self.seconds[name] += step.metrics.get(f"seconds/{name}", 0.0)

    @property
    def alarms(self) -> list[str]:
        return alarms(self.metrics)

    @property
    def phase(self) -> str:
        complete = self.attempts - self.stepped == min(self.group_size, self.budget - self.stepped)
        return "distilling" if complete else "sampling and judging"

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds["sample+judge"] if self.seconds["sample+judge"] else 0.0

    def counts(self) -> str:
        return ", ".join(f"{status.value.replace('_', ' ')} {n}" for status, n in self.verdicts.most_common())

    def times(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


class QuietView:
    """Keeps the numbers of one run and says nothing."""

    def __init__(self) -> None:
        self.board = Board()

    def begin(self, run: int, question: str, past: Past, budget: int, group_size: int) -> None:
        self.board.begin(run, question, past, budget, group_size)

    def show(self, event: Event) -> None:
        self.board.add(event)


class PlainView(QuietView):
    """One line a step, for logs and pipes; each warning once."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def begin(self, run: int, question: str, past: Past, budget: int, group_size: int) -> None:
        self.board.begin(run, question, past, budget, group_size)
        made = self.board.attempts
        resumed = f", resumed after {made} attempts and {past.steps} steps" if made else ""
        self.say(f"run {run}: {question}{resumed}")

    def show(self, event: Event) -> None:
        self.board.add(event)
        if isinstance(event, Step):
            self.say(_line(self.board, event))
            for alarm in self.board.alarms:
                if alarm not in self._warned:
                    self.say(f"warning: {alarm}")
                self._warned.add(alarm)


def _line(board: Board, step: Step) -> str:
    verdicts = Counter(rollout.verdict.status.value.replace("_", " ") for rollout in step.rollouts)
    loss = step.metrics.get("loss")
    moved = "back to the base" if "restarted" in step.metrics else "no gradient step"
    parts = [
        f"step {step.number}",
        f"attempts {board.attempts}/{board.budget}",
        ", ".join(f"{name} {n}" for name, n in verdicts.most_common()),
        f"best {board.best_fraction:.0%} of visible cases",
        f"loss {loss:.4f}" if loss is not None else moved,
        f"adapter v{step.adapter_version}",
        f"{board.tokens_per_second:.0f} tokens/s",
    ]
    return " | ".join(parts) + (f" | discovered at attempt {board.discovery}" if step.discovery else "")


class RichView:
    """A panel that renews itself in place."""

    def __init__(self) -> None:
        self.board = Board()
        self._console = Console(stderr=True)
        self._started = time.monotonic()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> RichView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def begin(self, run: int, question: str, past: Past, budget: int, group_size: int) -> None:
        self.board.begin(run, question, past, budget, group_size)
        self._started = time.monotonic()
        self._live.start(refresh=True)

    def show(self, event: Event) -> None:
        self.board.add(event)
        if isinstance(event, Step):
            self._live.refresh()

    def _render(self) -> Group:
        board = self.board
        table = Table.grid(padding=(0, 2))
        rows = {
            "run": f"{board.run}   {board.question}",
            "step": f"{board.step}   adapter v{board.adapter_version}   {board.phase}",
            "elapsed": f"{time.monotonic() - self._started:.0f} s   {board.times()}",
            "attempts": f"{board.attempts} of {board.budget}",
            "verdicts": board.counts() or "none yet",
            "best": f"{board.best_fraction:.0%} of the visible cases",
            "loss": f"{board.loss:.4f}" if board.loss is not None else "-",
            "speed": f"{board.tokens_per_second:.0f} tokens/s",
        }
        if board.alarms:
            rows["warning"] = "\n".join(board.alarms)
        if board.discovery is not None:
            rows["discovered"] = f"attempt {board.discovery}"
        for name, value in rows.items():
            table.add_row(Text(name, style="bold green" if name == "discovered" else "bold"), Text(value))
        width = min(60, self._console.width)
        return Group(table, ProgressBar(total=max(board.budget, 1), completed=board.attempts, width=width))


class PlainOverview:
    """Many runs, a line for each that ends."""

    def __init__(self) -> None:
        self._total = 0
        self._ended = 0
        self._started = time.monotonic()
        self.boards: dict[str, QuietView] = {}

    def __enter__(self) -> PlainOverview:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def expect(self, runs: int) -> None:
        self._total = runs

    def view(self, name: str) -> QuietView:
        view = self.boards[name] = QuietView()
        return view

    def end(self, name: str, answer: Answer | Failure) -> None:
        self._ended += 1
        self.boards.pop(name, None)
        elapsed = time.monotonic() - self._started
        self.say(f"{self._ended}/{self._total} | {elapsed:.0f} s | {name} | {_ending(answer)}")


class RichOverview(PlainOverview):
    """Many runs in a table that renews itself; those that ended scroll away above it."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> RichOverview:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def _render(self) -> Group:
        table, narrow = Table(box=None, header_style="bold"), self._console.width < NARROW
        for title in TITLES[: SHOWN_NARROW if narrow else None]:
            table.add_column(title, overflow="fold")
        for name, view in self.boards.items():
            table.add_row(*_overview_cells(name, view.board)[: len(table.columns)])
        tokens = sum(view.board.tokens_per_second for view in self.boards.values())
        return Group(table, Text(f"{self._ended} of {self._total} runs ended   {self._eta()}   {tokens:.0f} tokens/s"))

    def _eta(self) -> str:
        if not self._ended:
            return "time left unknown"
        left = (time.monotonic() - self._started) / self._ended * (self._total - self._ended)
        return f"about {left / 60:.0f} min left"


def _overview_cells(name: str, board: Board) -> tuple[str, ...]:
    """One run's cells under `TITLES`."""
    return (
        name,
        f"{board.attempts}/{board.budget}",
        f"{board.best_fraction:.0%}",
        str(board.discovery or "-"),
        board.phase,
        f"{board.loss:.4f}" if board.loss is not None else "-",
        f"v{board.adapter_version}",
        f"{board.tokens_per_second:.0f}",
    )


def _ending(answer: Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return f"failed: {answer.error}"
    return ending(answer)


def overview_for_stderr() -> PlainOverview:
    return RichOverview() if _renews() else PlainOverview()


def view_for_stderr() -> PlainView | RichView:
    return RichView() if _renews() else PlainView()


def _renews() -> bool:
    """Whether stderr is a terminal that can be drawn over. Rich itself honours NO_COLOR."""
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows with the same keys as a table on stdout."""
    table = Table(box=None, header_style="bold")
    for name in rows[0] if rows else ("nothing yet",):
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
