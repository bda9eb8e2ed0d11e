"""Ray itself, on a cluster of one CPU that these tests share: the record's actor, waiting for room, threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.records import attempt, run_of
from ttsd.config import load_config
from ttsd.errors import InfrastructureError
from ttsd.nouns import Step
from ttsd.record.store import Store
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.cluster.places import Place, found_room, kept
from ttsd.running.cluster.worker import with_its_cores
from ttsd.running.watchdog import speaker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason='ray is not installed: pip install "ttsd[ray]"'),
]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


class Guest:
    """An actor that needs room."""

    async def machine(self) -> str:
        return "here"

    def threads(self) -> tuple[str | None, int | None]:
        """What Ray says of threads, and what a worker makes of four cores."""
        own = with_its_cores(load_config("micro"), 4, 1, learns=True)
        return os.environ.get("OMP_NUM_THREADS"), own.model.threads


class Said:
    """An overview that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


async def test_who_finds_no_room_on_the_cluster_is_waited_for_with_a_word(ray: Any) -> None:
    said, words = Said(), list[str]()
    speaker.set(words.append)
    kind = ray.remote(num_cpus=1)(Guest)
    first = kind.remote()
    assert await first.threads.remote() == ("1", 4)  # Ray would have every worker compute on one core
    made = [Place(1, first), Place(2, kind.remote())]
    try:
        housed = await found_room(made, "1 CPU each", said, quiet_seconds=0.5, place_seconds=3.0)  # type: ignore[arg-type]
        assert list(housed) == made[:1]
        assert said.lines == ["worker 2 finds no place on the cluster: it took too long"]
        assert words[0].startswith("no progress for ")
        assert "1 waiting for the Ray cluster to have room for a worker (1 CPU each" in words[0]
        with pytest.raises(InfrastructureError, match="none of 1 workers could start"):
            await found_room(made[1:], "1 CPU each", said, place_seconds=0.5)  # type: ignore[arg-type]
    finally:
        for place in made:
            ray.kill(place.actor)


def test_a_record_whose_process_dies_is_opened_again_and_has_every_row_once(ray: Any, tmp_path: Path) -> None:
    with Store(tmp_path / "ttsd.sqlite") as store:
        keeper = kept(store)
        record = DistantStore(keeper, str(store.path), store.state_dir)
        run = record.new_run(run_of("q"), {})
        attempts = [attempt(number, 1) for number in range(1, 9)]
        record.add_attempt(run, attempts[0])
        (process,) = {int(row) for row in [ray.get(keeper.__ray_call__.remote(lambda _: os.getpid()))]}
        os.kill(process, signal.SIGKILL)
        for one in attempts[1:]:
            record.add_attempt(run, one)
        record.add_attempt(run, attempts[-1])  # as a call that was under way comes a second time
        step = Step(1, tuple(attempts), 1, (), {"loss": 0.1}, {})
        record.add_step(run, step, None, {})
        record.add_step(run, step, None, {})
        assert [one.number for one in store.attempts(run)] == list(range(1, 9))
        assert len(list(store.steps(run))) == 1
        ray.kill(keeper)
