"""Shows runs on stderr while they go on: a table that renews itself, or plain lines. The door to rich."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ttsd.loop import Event
from ttsd.nouns import Step
from ttsd.record.protocol import Answer, Past
from ttsd.record.run import Run
from ttsd.reporting.board import Board, QuietView
from ttsd.running.batch import Failure
from ttsd.running.budget import Left, Meter
from ttsd.running.solve import ending, percent
from ttsd.terminal import keep_streams_clean, one_line, readable, say, unwrapped

# Columns of a table that renews itself.
TITLES = ("run", "attempts", "best", "discovery", "doing", "loss", "adapter", "tokens/s")
NARROW, SHOWN_NARROW = 90, 5


class PlainView(QuietView):
    """One line a step, for logs and pipes; each warning once."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def say(self, text: str) -> None:
        say(text)

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None:
        """Says which run begins, and where."""
        super().begin(number, run, past, meter)
        made = self.board.attempts
        resumed = f", resumed after {made} attempts and {past.history.steps} steps" if made else ""
        self.say(f"run {number}: {run}{resumed}")

    def show(self, event: Event) -> None:
        self.board.add(event)
        if isinstance(event, Step):
            self.say(_line(self.board, event))
            for alarm in self.board.alarms:
                if alarm not in self._warned:
                    self.say(f"warning: {alarm}")
                self._warned.add(alarm)


def _line(board: Board, step: Step) -> str:
    verdicts = Counter(attempt.verdict.status.value.replace("_", " ") for attempt in step.attempts)
    loss = step.metrics.get("loss")
    back = step.metrics.get("returned_to")
    moved = "no gradient step" if back is None else f"back to the weights after step {back:.0f}"
    parts = [
        f"step {step.number}",
        f"attempts {board.attempts}/{board.budget}",
        ", ".join(f"{name} {n}" for name, n in verdicts.most_common()),
        f"best {percent(board.best_fraction)} of visible cases",
        f"loss {loss:.4f}" if loss is not None else moved,
        f"adapter v{step.adapter_version}",
        f"{board.tokens_per_second:.0f} tokens/s",
        board.price,
        f"discovered at attempt {board.discovery}" if step.discovery else board.left,
    ]
    return " | ".join(part for part in parts if part)


class RichView(PlainView):
    """The same lines, above a table of one run that renews itself."""

    def __init__(self) -> None:
        super().__init__()
        self._console = _on_stderr()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.board.end()
        else:
            self.board.ended = "stopped"
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(_text(text, "dim"))

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None:
        """Starts the table."""
        super().begin(number, run, past, meter)
        _start(self._live)

    def _render(self) -> Group:
        return Group(_table({self.board.name: self.board}, self._console.width), Text(self.board.left))


class PlainOverview:
    """Many runs, a line for each that ends."""

    def __init__(self) -> None:
        self._total = 0
        self._ended: list[tuple[int, int]] = []  # attempts and tokens of each run that did
        self._started = time.monotonic()
        self.boards: dict[str, QuietView] = {}

    def __enter__(self) -> PlainOverview:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        say(text)

    def expect(self, runs: int) -> None:
        self._total = runs
        self._ended.clear()

    def view(self, name: str) -> QuietView:
        if not self.boards and not self._ended:
            self._started = time.monotonic()  # the engine is ready now
        view = self.boards[name] = QuietView()
        return view

    def end(self, name: str, answer: Answer | Failure) -> None:
        self._ended.append(_made(self.boards.pop(name, None), answer))
        elapsed, left = time.monotonic() - self._started, self.left()
        parts = [f"{len(self._ended)}/{self._total}", f"{elapsed:.0f} s", f"about {left}" if left else "", name]
        how = one_line(f"failed: {answer.error}") if isinstance(answer, Failure) else ending(answer)
        self.say(" | ".join(part for part in [*parts, how] if part))

    def left(self) -> Left | None:
        """Estimates what all runs still take if the rest are like those that ended; None: unknown."""
        running = [board.meter for view in self.boards.values() if (board := view.board).meter is not None]
        attempts = sum(made for made, _ in self._ended) + sum(meter.made for meter in running)
        tokens = sum(of_run for _, of_run in self._ended) + sum(meter.made_tokens for meter in running)
        if not attempts:
            return None
        usual = [made for made, _ in self._ended] or [meter.budget.attempts for meter in running]
        left = max(0.0, self._total * fmean(usual) - attempts)
        return Left(left, left * (time.monotonic() - self._started) / attempts, left * tokens / attempts)


class RichOverview(PlainOverview):
    """Many runs in a table that renews itself; those that ended scroll away above it."""

    def __init__(self) -> None:
        super().__init__()
        self._console = _on_stderr()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> RichOverview:
        _start(self._live)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(_text(text, "dim"))

    def _render(self) -> Group:
        tokens = sum(view.board.tokens_per_second for view in self.boards.values())
        left = f"about {left}" if (left := self.left()) else "time left unknown"
        table = _table({name: view.board for name, view in self.boards.items()}, self._console.width)
        return Group(table, Text(f"{len(self._ended)} of {self._total} runs ended   {left}   {tokens:.0f} tokens/s"))


def _table(boards: Mapping[str, Board], width: int) -> Table:
    """Returns a row for each run; a narrow terminal shows the first columns."""
    table = Table(box=None, header_style="bold cyan")
    for title in TITLES[: SHOWN_NARROW if width < NARROW else None]:
        table.add_column(title, overflow="fold")
    for name, board in boards.items():
        table.add_row(*map(_text, _cells(name, board)[: len(table.columns)]))
    return table


def _cells(name: str, board: Board) -> tuple[str, ...]:
    """Returns one run's cells under `TITLES`."""
    return (
        name,
        f"{board.attempts}/{board.budget}",
        percent(board.best_fraction),
        str(board.discovery or "-"),
        board.phase,
        f"{board.loss:.4f}" if board.loss is not None else "-",
        f"v{board.adapter_version}",
        f"{board.tokens_per_second:.0f}",
    )


def _made(view: QuietView | None, answer: Answer | Failure) -> tuple[int, int]:
    """Returns the attempts and tokens of a run that ended; of one on another machine the record says the attempts
    alone.
    """
    if view is not None and view.board.meter is not None:
        return view.board.meter.made, view.board.meter.made_tokens
    return (answer.attempts, 0) if isinstance(answer, Answer) else (0, 0)


def overview_for_stderr() -> PlainOverview:
    return RichOverview() if _renews() else PlainOverview()


def view_for_stderr() -> PlainView | RichView:
    return RichView() if _renews() else PlainView()


def _renews() -> bool:
    """Tells whether stderr is a terminal whose lines can be renewed. Rich itself honours NO_COLOR."""
    return sys.stderr.isatty() and not _on_stderr().is_dumb_terminal


def print_table(rows: Sequence[Mapping[str, object]], *, less: Sequence[str] = (), whole: Sequence[str] = ()) -> None:
    """Prints rows with the same keys as a table on stdout.

    Where the terminal is too narrow, columns of `less` are left out, the first of them first; then texts are cut, with
    a sign, before any number is. Those of `whole` go on in the next line instead.
    """
    console = Console(file=unwrapped(sys.stdout), width=None if sys.stdout.isatty() else 200)
    names = list(rows[0]) if rows else ["nothing yet"]
    cells = [{name: "" if row[name] is None else one_line(str(row[name])) for name in names} for row in rows]
    widths = {name: max([cell_len(name), *(cell_len(row[name]) for row in cells)]) for name in names}
    for name in less:
        if name in widths and sum(widths.values()) + 2 * len(widths) > console.width:
            del widths[name]
    table = Table(box=None, header_style="bold")
    for name in widths:
        numbers = not any(isinstance(row[name], str) for row in rows)
        table.add_column(name.replace("_", " "), no_wrap=numbers)  # rich narrows the other columns first
    for row in cells:
        table.add_row(
            *(
                Text(row[name], no_wrap=name not in whole, overflow="fold" if name in whole else "ellipsis")
                for name in widths
            )
        )
    console.print(table)


def _on_stderr() -> Console:
    return Console(file=unwrapped(sys.stderr))


def _start(live: Live) -> None:
    """Starts what renews itself. It puts streams of its own in place, which interpret escape sequences."""
    live.start(refresh=True)
    keep_streams_clean()


def _text(text: str, style: str = "") -> Text:
    """Returns text as it stands, without rich's markup: the one form in which anything gets to rich."""
    return Text(readable(text), style)
