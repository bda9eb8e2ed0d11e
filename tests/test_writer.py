"""A learner's state is written while the next group is sampled; a step is a row only once its state is on disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.records import attempt, begin
from ttsd.config import load_config
from ttsd.errors import InfrastructureError
from ttsd.loop import Event
from ttsd.nouns import Example, Step
from ttsd.record.store import Store
from ttsd.reporting.board import QuietView
from ttsd.running.trackers import open_tracker
from ttsd.running.writer import Writer


class Learner:
    """A policy whose states take as long to write as `disk` says: real threads and files, no model."""

    def __init__(self, disk: threading.Event, fault: Exception | None = None) -> None:
        self._disk, self._fault = disk, fault
        self.token_advantages = {1: [0.5, 0.0, -0.5]}

    async def snapshot(self) -> Learner:
        return self

    def write(self, folder: Path) -> None:
        self._disk.wait(timeout=60)
        if self._fault:
            raise self._fault
        folder.mkdir()


async def written(store: Store, run: int, learner: Any, events: AsyncGenerator[Event, None]) -> None:
    with store.claim(run) as folder:
        tracker = open_tracker(load_config(None, []).store, "", "", {}, folder)
        view = QuietView()
        await Writer(run, store, folder, view, tracker, learner).write(events)


def step_of(number: int) -> Step:
    """A step that learned from its one attempt."""
    made = attempt(number, number)
    example = Example(number, made.prompt.token_ids, made.completion.token_ids, made.completion.logprobs, reward=1.0)
    return Step(number, (made,), number, (example,), {}, {"group": 1.0})


async def test_the_next_group_is_sampled_meanwhile_and_the_row_follows_the_state(tmp_path: Path) -> None:
    disk = threading.Event()
    seen: list[tuple[int, int]] = []
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)

        def on_disk() -> tuple[int, int]:
            return len(store.attempts(run)), len(list(store.steps(run)))

        async def events() -> AsyncGenerator[Event, None]:
            for number in (1, 2):
                yield attempt(number, number)
                seen.append(on_disk())
                if number == 2:
                    disk.set()
                yield step_of(number)

        await written(store, run, Learner(disk), events())
        assert seen == [(1, 0), (2, 0)]
        assert on_disk() == (2, 2)
        learned = store.example(run, 1)
        assert learned is not None
        assert learned[1] == (0.5, 0.0, -0.5)
        past = store.past(run)
        assert (past.history.steps, past.begun, past.state and past.state.is_dir()) == (2, (), True)


async def test_a_step_whose_state_was_not_written_is_taken_again(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)

        async def events() -> AsyncGenerator[Event, None]:
            yield attempt(1)
            yield step_of(1)
            yield attempt(2, 2)
            await asyncio.sleep(60)

        disk = threading.Event()
        working = asyncio.create_task(
            written(store, run, Learner(disk, InfrastructureError("the disk is full")), events())
        )
        while len(store.attempts(run)) < 2:
            await asyncio.sleep(0.01)
        past = store.past(run)  # what a process that is killed here leaves
        assert (past.history.steps, [one.number for one in past.begun], past.state) == (0, [1, 2], None)
        working.cancel()
        disk.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert list(store.steps(run)) == []


async def test_a_disk_that_refuses_ends_the_run(tmp_path: Path) -> None:
    disk = threading.Event()
    disk.set()
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)

        async def events() -> AsyncGenerator[Event, None]:
            yield attempt(1)
            yield step_of(1)

        with pytest.raises(InfrastructureError, match="full"):
            await written(store, run, Learner(disk, InfrastructureError("the disk is full")), events())
