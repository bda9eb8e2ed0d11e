"""Workers on their way to standing ready: each finds a place on the cluster, gets its cores, and loads its engine."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.machine.capacity import Capacity
from ttsd.record.store import Store
from ttsd.running.batch import Overview
from ttsd.running.cluster.keeper import Keeper
from ttsd.running.cluster.worker import Machine, Need, Worker
from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import QUIET_SECONDS, Watched, watching
from ttsd.sampling.background import in_thread

if TYPE_CHECKING:
    from ray.actor import ActorHandle

PLACE_SECONDS = 600.0  # for a worker to find its place on the cluster
START_SECONDS = 1800.0  # to load its model
GOODBYE_SECONDS = 5.0
LISTEN_SECONDS = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A worker, by its number, and how many runs it takes at once (0: it is not ready)."""

    number: int
    actor: ActorHandle
    runs: int = 0


@asynccontextmanager
async def places(
    config: Config, store: Store, need: Need, count: int, overview: Overview
) -> AsyncGenerator[list[Place], None]:
    """Returns the workers, ready. InfrastructureError if none of them can start."""
    import ray

    gpus = config.model.gpus if ray.cluster_resources().get("GPU") else 0
    kind = ray.remote(num_cpus=1, num_gpus=gpus)(Worker)
    keeper = kept(store)
    made = [
        Place(number, kind.remote(config, keeper, os.getcwd(), store.state_dir.absolute()))
        for number in range(1, count + 1)
    ]
    listening: list[asyncio.Task[None]] = []
    try:
        housed = await found_room(made, f"1 CPU and {gpus} GPUs each", overview)
        listening = [asyncio.create_task(_listen(place, overview)) for place in housed]
        yield await _ready(housed, need, overview)
        await asyncio.gather(*(_stopped(place, overview) for place in housed))
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        await asyncio.gather(*(briefly(ray.kill, place.actor) for place in made))


def kept(store: Store) -> ActorHandle:
    """Returns an actor on this machine that has the database open; it is made again when its process dies."""
    import ray

    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), False)
    kind = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Keeper)
    return kind.remote(str(store.path.absolute()), str(store.state_dir.absolute()))


async def found_room(
    made: Sequence[Place],
    takes: str,
    overview: Overview,
    *,
    quiet_seconds: float = QUIET_SECONDS,
    place_seconds: float = PLACE_SECONDS,
) -> dict[Place, Machine]:
    """Returns where each worker is. One that found no place in time is said and given up."""
    waiting = Shared("room")
    watched = Watched(f"Ray cluster to have room for a worker ({takes}; `ray status` shows what is free)", waiting)

    async def room(place: Place) -> Machine:
        async with waiting.use(Spending()):
            return await asyncio.wait_for(place.actor.machine.remote(), place_seconds)

    async with watching([watched], quiet_seconds):
        return await _all_that_can(made, room, lambda error: f"finds no place on the cluster: {cause(error)}", overview)


async def _ready(housed: Mapping[Place, Machine], need: Need, overview: Overview) -> list[Place]:
    neighbours = Counter(machine.node for machine in housed.values())

    async def start(place: Place) -> Place:
        machine = housed[place]
        cores = max(1, machine.cores // neighbours[machine.node])
        starting = place.actor.start.remote(need, cores)
        word: tuple[Capacity, str] = await asyncio.wait_for(starting, START_SECONDS)
        part = f"{cores} of {machine.cores} cores"
        overview.say(f"worker {place.number} ready (sandbox: {word[1]}; {part}); {word[0]}")
        return replace(place, runs=word[0].runs)

    started = await _all_that_can(list(housed), start, lambda error: f"can't start: {cause(error)}", overview)
    return list(started.values())


async def _all_that_can(
    made: Sequence[Place],
    call: Callable[[Place], Awaitable[T]],
    refusal: Callable[[BaseException], str],
    overview: Overview,
) -> dict[Place, T]:
    """Returns what `call` gives for each worker; those that raise are said. InfrastructureError if all of them do."""
    said = await asyncio.gather(*(call(place) for place in made), return_exceptions=True)
    good: dict[Place, T] = {}
    for place, word in zip(made, said, strict=True):
        if isinstance(word, BaseException):
            overview.say(f"worker {place.number} {refusal(word)}")
        else:
            good[place] = word
    if not good:
        raise InfrastructureError(
            f"none of {len(made)} workers could start; the last one {refusal(said[-1])}"  # type: ignore[arg-type]
        )
    return good


async def _listen(place: Place, overview: Overview) -> None:
    """Says what the worker's own watchdog says, and names the worker when it does not answer."""
    from ray.exceptions import RayError

    answering = Shared("answer")
    async with watching([Watched(f"worker {place.number} to answer", answering)]):
        with suppress(RayError):
            while True:
                async with answering.use(Spending()):
                    lines = await place.actor.said.remote()
                for line in lines:
                    overview.say(f"worker {place.number}: {line}")
                await asyncio.sleep(LISTEN_SECONDS)


async def _stopped(place: Place, overview: Overview) -> None:
    from ray.exceptions import RayError

    with suppress(RayError):  # it may be gone, or never have stood ready
        overview.say(f"worker {place.number}: {await place.actor.usage.remote()}")
        await place.actor.stop.remote()


async def briefly(call: Callable[..., None], *args: object) -> None:
    """Waits briefly. Ray waits a minute for processes of its own that heard the signal that stops us; we do not."""
    with suppress(TimeoutError):
        await asyncio.wait_for(in_thread(call, *args), GOODBYE_SECONDS)


def cause(error: object) -> str:
    """Returns the line that says most of what Ray wraps around a worker's own error."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    inner = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return lines[-1] if lines else repr(inner)
