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


def test_neighbours_divide_the_cores() -> None:
    config = load_config("micro-cpu")
    part = with_its_cores(config, 64, 8)
    assert (part.judge.slots, part.model.threads) == (8, 8)
    assert with_its_cores(config, 4, 8).judge.slots == 1
    assert with_its_cores(config, 64, 1) == config
    own = load_config("micro-cpu", ["judge.slots=3"])
    assert with_its_cores(own, 64, 8).judge.slots == 3
