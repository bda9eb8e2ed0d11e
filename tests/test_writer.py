"""The learner's state is written while the next group is drawn, and a step is a row only once its state is on disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.records import begin, rollout
from ttsd.errors import InfrastructureError
from ttsd.loop import Event
from ttsd.nouns import Step
from ttsd.record.store import Store
from ttsd.reporting.board import QuietView
from ttsd.running.trackers import open_tracker
from ttsd.running.writer import Writer


class Learner:
    """A policy whose states take as long to write as `disk` says: real threads and files, no model."""

    def __init__(self, disk: threading.Event, fault: Exception | None = None) -> None:
        self._disk, self._fault = disk, fault
        self.gains = {1: [0.5, 0.0, -0.5]}

    async def snapshot(self) -> Learner:
        return self

    def write(self, folder: Path) -> None:
        self._disk.wait(timeout=60)
        if self._fault:
            raise self._fault
        folder.mkdir()


async def written(store: Store, run: int, learner: Any, events: AsyncGenerator[Event, None]) -> None:
    with store.claim(run) as folder:
        tracker = open_tracker("none", "", {}, folder)
        view = QuietView()
        await Writer(run, store, folder, view, tracker, learner).write(events)


async def test_the_next_group_is_drawn_meanwhile_and_the_row_follows_the_state(tmp_path: Path) -> None:
    disk = threading.Event()
    seen: list[tuple[int, int]] = []
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)

        def on_disk() -> tuple[int, int]:
            return len(list(store.attempts(run))), len(list(store.steps(run)))

        async def events() -> AsyncGenerator[Event, None]:
            for number in (1, 2):
                yield rollout(number, number)
                seen.append(on_disk())
                if number == 2:
                    disk.set()
                yield Step(number, (rollout(number, number),), number, {}, {"draw": 1.0})

        await written(store, run, Learner(disk), events())
        assert seen == [(1, 0), (2, 0)]
        assert on_disk() == (2, 2)
        assert store.gains(run, 1) == (0.5, 0.0, -0.5)
        past, state = store.past(run)
        assert (past.steps, past.unfinished, state and state.is_dir()) == (2, (), True)


async def test_a_step_whose_state_was_not_written_is_taken_again(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)

        async def events() -> AsyncGenerator[Event, None]:
            yield rollout(1)
            yield Step(1, (rollout(1),), 1, {}, {"draw": 1.0})
            yield rollout(2, 2)
            await asyncio.sleep(60)

        disk = threading.Event()
        working = asyncio.create_task(
            written(store, run, Learner(disk, InfrastructureError("the disk is full")), events())
        )
        while len(list(store.attempts(run))) < 2:
            await asyncio.sleep(0.01)
        past, state = store.past(run)  # what a process that is killed here leaves
        assert (past.steps, [one.attempt for one in past.unfinished], state) == (0, [1, 2], None)
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
            yield rollout(1)
            yield Step(1, (rollout(1),), 1, {}, {"draw": 1.0})

        with pytest.raises(InfrastructureError, match="full"):
            await written(store, run, Learner(disk, InfrastructureError("the disk is full")), events())
