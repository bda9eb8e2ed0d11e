"""What `--dry-run` shows: the estimate, and the first prompts that the runs would read. No engine, no new row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttsd.collapse import Collapse
from ttsd.config import Config
from ttsd.loop import START, Past, read_by, recall
from ttsd.record.store import Store
from ttsd.running.estimate import Estimate, estimate
from ttsd.running.readings import group_size_of, readings_of, rounds_of

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer
    from ttsd.running.tasks import Task


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text that attempts of some runs read, with the model's own chat template around it."""

    runs: tuple[str, ...]
    attempts: tuple[int, ...]  # of each of these runs
    tokens: int
    text: str

    def heading(self) -> str:
        first, last = self.attempts[0], self.attempts[-1]
        which = f"attempt {first}" if first == last else f"attempts {first} to {last}"
        return f"{which} of {', '.join(self.runs)}: {self.tokens} tokens"


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen; `estimate` None: nothing is left to do."""

    estimate: Estimate | None = None
    prompts: tuple[Prompt, ...] = ()


@contextmanager
def looked_at(config: Config) -> Iterator[Store]:
    """The record, or an empty one in memory where there is none yet."""
    path = Path(config.store.path)
    with Store.existing(path, config.store.state_dir) if path.is_file() else Store(":memory:") as store:
        yield store


async def previewed(
    tasks: Sequence[Task], config: Config, store: Store, tokenizer: Tokenizer, *, at_once: int = 1
) -> Preview:
    """Of `tasks`, of which `at_once` share an engine."""
    expected = await estimate(tasks, config, store, tokenizer, at_once=at_once)
    return Preview(expected, first_prompts(tasks, tokenizer, store))


def first_prompts(tasks: Sequence[Task], tokenizer: Tokenizer, store: Store) -> tuple[Prompt, ...]:
    """What the next attempts read, each text once."""
    read: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for task in tasks:
        past = store.past(task.resumed["run"])[0] if task.resumed else START
        for ids, attempts in _next_readings(task, tokenizer, past).items():
            read.setdefault((ids, tuple(attempts)), []).append(str(task.wanted))
    return tuple(
        Prompt(tuple(runs), attempts, len(ids), tokenizer.whole_text(ids)) for (ids, attempts), runs in read.items()
    )


def _next_readings(task: Task, tokenizer: Tokenizer, past: Past) -> dict[tuple[int, ...], list[int]]:
    """The numbers of the next attempts, by what they read."""
    kind, config = task.wanted.job.kind, task.wanted.config
    reads = readings_of(kind, task.problem, tokenizer, config)
    collapse = Collapse() if config.budget.restart_after_collapse and kind.taught else None
    known = recall(reads, collapse, past.rollouts)
    size = min(group_size_of(kind, config), config.budget.attempts - past.attempts)
    wanted = range(past.attempts + 1, past.attempts + 1 + size)
    readings = read_by(wanted, past.unfinished, known, reads, rounds_of(kind, config))
    made, found = {rollout.attempt for rollout in past.unfinished}, dict[tuple[int, ...], list[int]]()
    for attempt, reading in readings.items():
        if attempt not in made:
            found.setdefault(reading.prompt_ids, []).append(attempt)
    return found
