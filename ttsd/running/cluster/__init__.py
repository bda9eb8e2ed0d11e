"""`ttsd batch --ray`: an engine is an actor, runs are placed on actors, one database keeps the record. The door to ray.

The store itself is an actor on the driver's machine, the only one that opens the SQLite file: workers send it each row
before they continue, as they would write it themselves. The learners' states are files that workers write under
`store.state_dir`, which therefore has to be a path that all machines share, as have the questions and the model; the
same Python and `ttsd` have to be there too. A worker that dies loses nothing but the attempts under way: its runs are
resumed elsewhere. Not here: making a cluster, bringing lost workers back, moving runs that could stay.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.machine.capacity import Capacity
from ttsd.running import resume, run
from ttsd.running.batch import Failure, Overview, Results, Task, Wanted, checked, group_of, learns, sorted_out
from ttsd.running.cluster.worker import Need, Worker
from ttsd.running.record import Answer
from ttsd.running.store import Store
from ttsd.sampling.loading import beside

if TYPE_CHECKING:
    from ray.actor import ActorHandle

START_SECONDS = 1800.0  # for a worker to find its place on the cluster and load its model
GOODBYE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """A worker, by its number, and how many runs it takes at once (0: it is not ready)."""

    number: int
    actor: ActorHandle
    runs: int = 0


async def batch(
    wanted: Sequence[Wanted],
    config: Config,
    *,
    address: str,
    workers: int | None,
    runs_at_once: int | None,
    overview: Overview,
) -> Results:
    """As `batch.batch`, over the engines of a Ray cluster at `address` (`local`: one on this machine, for this run)."""
    with run.open_store(config) as store:
        done, tasks = sorted_out(wanted, store)
        overview.say(f"{len(tasks)} runs to do, {len(done)} done before")
        overview.expect(len(tasks))
        finished: list[Answer | Failure] = [store.answer(number) for number in done]
        if not tasks:
            return Results(finished)
        await beside(checked, tasks, config)
        async with _cluster(address, workers, config) as count:
            machines = len([node for node in _imported().nodes() if node["Alive"]])
            need = Need(
                -(-len(tasks) // count), group_of(tasks, config), learns(tasks), runs_at_once, -(-count // machines)
            )
            async with _places(config, store, need, count, overview) as places:
                return Results(finished + await _placed(places, tasks, store, overview))


@asynccontextmanager
async def _cluster(address: str, workers: int | None, config: Config) -> AsyncGenerator[int, None]:
    """Connects, and disconnects at the end; gives how many workers there will be."""
    ray = _imported()
    parallel = config.model.tensor_parallel_size
    local = local_resources(_gpus(config), workers, parallel) if address == "local" else {}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except Exception as error:  # it raises all kinds
        if address == "local":
            raise InfrastructureError(f"Ray can't start on this machine: {_cause(error)}") from None
        raise UserError(
            f"can't reach a Ray cluster at {address!r} ({_cause(error)}); start one with `ray start --head`, "
            "or use --ray local"
        ) from None
    for number, handler in before.items():
        signal.signal(number, handler)  # Ray has put its own in their place
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        with redirect_stdout(sys.stderr):  # Ray prints what becomes of its workers
            yield engines(gpus, workers, parallel)
    finally:
        await _briefly(ray.shutdown)


async def _briefly(call: Callable[..., None], *args: object) -> None:
    """Ray waits a minute for processes of its own that heard the signal that stops us; we do not."""
    with suppress(TimeoutError):
        await asyncio.wait_for(beside(call, *args), GOODBYE_SECONDS)


def engines(gpus: int, workers: int | None, parallel: int) -> int:
    """How many workers there are: as asked for, or one a GPU or group of `parallel` GPUs, or one without any."""
    return workers or max(1, gpus // parallel)


def local_resources(gpus: int, workers: int | None, parallel: int) -> dict[str, Any]:
    """What Ray is started with on this machine: a place for every worker."""
    return {"num_cpus": engines(gpus, workers, parallel), "num_gpus": gpus, "include_dashboard": False}


def _gpus(config: Config) -> int:
    """Those of this machine that may be used."""
    import torch

    return 0 if config.model.device == "cpu" else torch.cuda.device_count()


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError('--ray needs the package ray; install it with pip install "ttsd[ray]"') from None
    return ray


@asynccontextmanager
async def _places(
    config: Config, store: Store, need: Need, count: int, overview: Overview
) -> AsyncGenerator[list[Place], None]:
    """The workers, ready. InfrastructureError if none of them can start."""
    ray = _imported()
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), False)
    keeper = ray.remote(num_cpus=0, scheduling_strategy=here)(Store).remote(
        str(store.path.absolute()), str(store.state_dir.absolute())
    )
    gpus = config.model.tensor_parallel_size if ray.cluster_resources().get("GPU") else 0
    kind = ray.remote(num_cpus=1, num_gpus=gpus)(Worker)
    made = [
        Place(number, kind.remote(config, keeper, os.getcwd(), store.state_dir.absolute()))
        for number in range(1, count + 1)
    ]
    try:
        yield await _ready(made, need, overview)
        await asyncio.gather(*(_stopped(place, overview) for place in made))
    finally:
        await asyncio.gather(*(_briefly(ray.kill, place.actor) for place in made))


async def _ready(made: Sequence[Place], need: Need, overview: Overview) -> list[Place]:
    starting = (asyncio.wait_for(place.actor.start.remote(need), START_SECONDS) for place in made)
    said: list[tuple[Capacity, str] | BaseException] = await asyncio.gather(*starting, return_exceptions=True)
    ready = []
    for place, word in zip(made, said, strict=True):
        if isinstance(word, BaseException):
            overview.say(f"worker {place.number} can't start: {_cause(word)}")
        else:
            overview.say(f"worker {place.number} ready (sandbox: {word[1]}); {word[0]}")
            ready.append(replace(place, runs=word[0].runs))
    if not ready:
        raise InfrastructureError(f"none of {len(made)} workers could start; the last said: {_cause(said[-1])}")
    return ready


async def _stopped(place: Place, overview: Overview) -> None:
    with suppress(_imported().exceptions.RayError):  # it may be gone, or never have stood ready
        overview.say(f"worker {place.number}: {await place.actor.usage.remote()}")
        await place.actor.stop.remote()


async def _placed(
    places: Sequence[Place], tasks: Sequence[Task], store: Store, overview: Overview
) -> list[Answer | Failure]:
    """Brings every task to its end on some worker; those of a worker that dies are resumed elsewhere."""
    waiting: asyncio.Queue[Task] = asyncio.Queue()
    for task in tasks:
        waiting.put_nowait(task)
    results: list[Answer | Failure] = []
    complete = asyncio.Event()

    async def serve(place: Place) -> None:
        """One of the runs that `place` has at one time, and the next, until the worker is lost."""
        ray = _imported()
        while True:
            task = await waiting.get()
            try:
                result = await place.actor.execute.remote(task)
            except ray.exceptions.RayActorError:
                overview.say(f"worker {place.number} is lost; {task.wanted} is resumed elsewhere")
                job, own = task.wanted.job, task.wanted.config
                waiting.put_nowait(replace(task, resumed=resume.unfinished(store, job, own)))
                return
            except ray.exceptions.RayError as error:
                result = Failure(task.wanted.job, _cause(error))
            results.append(result)
            overview.end(str(task.wanted), result)
            if len(results) == len(tasks):
                complete.set()

    servants = [asyncio.create_task(serve(place)) for place in places for _ in range(place.runs)]
    ending = asyncio.create_task(complete.wait())
    try:
        left: set[asyncio.Task[Any]] = {ending, *servants}
        while not complete.is_set():
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for servant in done:
                servant.result()
            if left == {ending}:
                raise InfrastructureError(
                    f"all {len(places)} workers are lost, {len(tasks) - len(results)} runs are not at their end; "
                    "the same command resumes them"
                )
        return results
    finally:
        for servant in (ending, *servants):
            servant.cancel()
        await asyncio.gather(ending, *servants, return_exceptions=True)


def _cause(error: object) -> str:
    """The line that says most of what Ray wraps around a worker's own error."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else repr(cause)
