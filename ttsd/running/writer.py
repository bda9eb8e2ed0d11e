"""Puts a run's events on disk as they come, and shows them.

An attempt is a row before the next event is asked for. A step's row follows the learner's state, which is written in
the background while the next group is sampled: until then the step counts as not finished, and a run that is killed
takes it again with the same weights on the same attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ttsd.loop import Event
from ttsd.nouns import Attempt, Step, TokenAdvantages
from ttsd.record.claims import state_of
from ttsd.record.protocol import Past, RunDatabase
from ttsd.record.run import Run
from ttsd.running.budget import Meter
from ttsd.running.engine import FrozenPolicy, LoraPolicy
from ttsd.running.trackers import Tracker

if TYPE_CHECKING:
    from ttsd.training.state import Snapshot


class View(Protocol):
    """Shows one run to somebody."""

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None: ...

    def show(self, event: Event) -> None: ...


class Writer:
    """Writes the events of run `run`; `folder` has its learner's states."""

    def __init__(
        self,
        run: int,
        database: RunDatabase,
        folder: Path,
        view: View,
        tracker: Tracker,
        policy: LoraPolicy | FrozenPolicy,
    ) -> None:
        self._run, self._database, self._folder = run, database, folder
        self._view, self._tracker, self._policy = view, tracker, policy
        self._writing: asyncio.Task[None] | None = None

    async def write(self, events: AsyncGenerator[Event, None]) -> None:
        """Returns once everything is on disk; when cancelled, once nothing is being written any more."""
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Attempt):
                        self._database.add_attempt(self._run, event)
                    else:
                        await self._step(event)
                    self._view.show(event)
            await self._written()
        finally:
            if self._writing is not None:
                await asyncio.gather(self._writing, return_exceptions=True)

    async def _step(self, step: Step) -> None:
        await self._written()  # rows of steps come in order
        if isinstance(self._policy, FrozenPolicy):
            self._finish(step, None, {})
        else:
            self._writing = asyncio.create_task(self._save(step, await self._policy.snapshot()))

    async def _save(self, step: Step, snapshot: Snapshot) -> None:
        state = state_of(self._folder, step.number)
        await asyncio.to_thread(snapshot.write, state)
        self._finish(step, state, snapshot.token_advantages)

    def _finish(self, step: Step, state: Path | None, advantages: TokenAdvantages) -> None:
        self._database.add_step(self._run, step, state, advantages)
        self._tracker.log(step)  # after its row: a step that is taken again is shown once

    async def _written(self) -> None:
        """Waits for the last step's state and row; raises what went wrong there."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.shield(writing)
