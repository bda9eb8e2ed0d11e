"""What each worker of a machine gets: a GPU or a group of them, and its part of the cores. No Ray, no GPU."""

from __future__ import annotations

import pytest

from ttsd.config import load_config
from ttsd.running.cluster import engines, local_resources
from ttsd.running.cluster.worker import with_its_cores


@pytest.mark.parametrize(
    ("gpus", "workers", "parallel", "wanted"),
    [(8, None, 1, 8), (8, None, 2, 4), (0, None, 1, 1), (8, 3, 1, 3), (0, 2, 1, 2)],
)
def test_every_engine_has_a_place(gpus: int, workers: int | None, parallel: int, wanted: int) -> None:
    assert engines(gpus, workers, parallel) == wanted
    resources = local_resources(gpus, workers, parallel)
    assert resources["num_cpus"] >= wanted  # one each; with fewer, some would wait for ever
    assert resources["num_gpus"] == gpus


@pytest.mark.parametrize(
    ("cores", "runs", "learns", "slots", "threads"),
    [
        (8, 1, True, 8, 8),  # sampler, judge and trainer take turns
        (8, 4, True, 7, 4),  # sampler and trainer compute at once: half each, as without Ray
        (8, 4, False, 7, 8),
        (1, 4, True, 1, 1),
    ],
)
def test_a_worker_uses_no_more_than_its_part_of_the_cores(
    cores: int, runs: int, learns: bool, slots: int, threads: int
) -> None:
    part = with_its_cores(load_config("micro"), cores, runs, learns=learns)
    assert (part.judge.slots, part.model.threads) == (slots, threads)


def test_what_the_user_says_of_cores_holds_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    own = with_its_cores(load_config("micro", ["judge.slots=3", "model.threads=5"]), 8, 4, learns=True)
    assert (own.judge.slots, own.model.threads) == (3, 5)
