"""`ttsd batch --ray`: an engine is an actor, runs are placed on actors, one database keeps the record. The door to ray.

The store itself is an actor on the driver's machine, the only one that opens the SQLite file: workers send it each row
before they continue, as they would write it themselves. The learners' states are files that workers write under
`store.state_dir`, which therefore has to be a path that all machines share, as have the questions and the model; the
same Python and `ttsd` have to be there too. A worker that dies loses nothing but the attempts under way: its runs are
resumed elsewhere. Not here: making a cluster, bringing lost workers back, moving runs that could stay.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, chdir, redirect_stdout
from typing import Any

from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.record.protocol import Answer
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running import run as running
from ttsd.running.batch import Failure, Overview, Results, checked, running_together, sorted_out
from ttsd.running.cluster.places import Place, briefly, cause, places
from ttsd.running.cluster.worker import Need
from ttsd.sampling.background import in_thread
from ttsd.search_path import HOME


async def batch(
    runs: Sequence[Run],
    config: Config,
    *,
    address: str,
    workers: int | None,
    runs_at_once: int | None,
    overview: Overview,
) -> Results:
    """Does what `batch.batch` does, on a Ray cluster at `address` (`local`: one on this machine, for this batch)."""
    with running.open_store(config) as store:
        done, left = sorted_out(runs, store)
        overview.say(f"{len(left)} runs to do, {len(done)} done before")
        overview.expect(len(left))
        finished: list[Answer | Failure] = [*done]
        if not left:
            return Results(finished)
        todo = tuple(run for run, _ in left)
        await in_thread(checked, todo, config)
        async with _cluster(address, workers, config) as count:
            need = Need(todo, -(-len(todo) // count), runs_at_once)
            async with places(config, store, need, count, overview) as ready:
                return Results(finished + await _placed(ready, left, store, overview))


@asynccontextmanager
async def _cluster(address: str, workers: int | None, config: Config) -> AsyncGenerator[int, None]:
    """Connects, and disconnects at the end; gives how many workers there will be."""
    ray = _imported()
    parallel = config.model.gpus
    local = local_resources(_gpus(config), workers, parallel) if address == "local" else {}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with chdir(HOME):  # Ray puts the working directory first on its workers' search path
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except Exception as error:  # it raises all kinds
        if address == "local":
            raise InfrastructureError(f"this machine can't start Ray: {cause(error)}") from None
        raise UserError(
            f"can't reach a Ray cluster at {address!r} ({cause(error)}); start one with `ray start --head`, "
            "or use --ray local"
        ) from None
    for number, handler in before.items():
        signal.signal(number, handler)  # Ray has put its own in their place
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        with redirect_stdout(sys.stderr):  # Ray prints what becomes of its workers
            yield engines(gpus, workers, parallel)
    finally:
        await briefly(ray.shutdown)


def engines(gpus: int, workers: int | None, parallel: int) -> int:
    """Returns how many workers there are: as asked for, or one for each `parallel` GPUs, or one without any."""
    return workers or max(1, gpus // parallel)


def local_resources(gpus: int, workers: int | None, parallel: int) -> dict[str, Any]:
    """Returns what Ray is started with on this machine: a place for every worker."""
    return {"num_cpus": engines(gpus, workers, parallel), "num_gpus": gpus, "include_dashboard": False}


def _gpus(config: Config) -> int:
    """Returns those of this machine that may be used."""
    import torch

    return 0 if config.model.device == "cpu" else torch.cuda.device_count()


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError('--ray needs the package ray; install it with pip install "ttsd[ray]"') from None
    return ray


async def _placed(
    ready: Sequence[Place], left: Sequence[tuple[Run, int | None]], store: Store, overview: Overview
) -> list[Answer | Failure]:
    """Brings every run to its end on some worker; those of a worker that dies are resumed elsewhere."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayError

    free: asyncio.Queue[Place] = asyncio.Queue()
    for ready_one in ready:
        for _ in range(ready_one.runs):
            free.put_nowait(ready_one)
    lost, done, places = 0, 0, free.qsize()

    async def one(run: Run, number: int | None) -> Answer | Failure:
        nonlocal lost, done
        while True:
            place = await free.get()
            try:
                result: Answer | Failure = await place.actor.execute.remote(run, number)
            except (RayActorError, OutOfMemoryError) as error:
                lost += 1
                overview.say(f"worker {place.number} is lost ({cause(error)}); {run} is resumed elsewhere")
                if lost == places:
                    raise InfrastructureError(
                        f"all {len(ready)} workers are lost, {len(left) - done} runs are not at their end; "
                        "the same command resumes them"
                    ) from None
                number = row["run"] if (row := store.newest(run)) else None
                continue
            except RayError as error:
                result = Failure(str(run), cause(error))
            done += 1
            free.put_nowait(place)
            overview.end(str(run), result)
            return result

    return await running_together(one(run, number) for run, number in left)
