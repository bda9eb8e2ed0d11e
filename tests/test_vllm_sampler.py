"""Real vLLM on a tiny random model, held against transformers. One engine serves nearly all tests."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.in_sandbox import lives
from tests.sampler_parts import parts
from tests.tiny import write_model
from ttsd.config import Config, load_config
from ttsd.errors import InfrastructureError, UserError
from ttsd.machine.capacity import capacity
from ttsd.machine.gpus import GIB, Hardware
from ttsd.machine.memory import vllm_cache
from ttsd.machine.shape import KNOWN
from ttsd.nouns import Completion
from ttsd.sampling.kinds import VLLM, SamplerParts
from ttsd.sampling.protocol import AdapterRef
from ttsd.sampling.vllm_sampler import VllmSampler
from ttsd.sampling.vllm_sampler.launch import MAX_BATCHED_TOKENS, engine_args, lora_slots

if TYPE_CHECKING:
    from ttsd.backbone import Base

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),  # vLLM's, where a start fails
]

STOP = 3
RANK = 4
CACHE_MIB = 16
PROMPT = tuple(5 + (7 * at) % 250 for at in range(300))  # longer than two blocks of vLLM's prefix cache on a CPU
AdapterMaker = Callable[[str, int], AdapterRef]

OWNER = """
import asyncio, multiprocessing, signal, sys
from tests.sampler_parts import parts
from ttsd.sampling.vllm_sampler import VllmSampler

async def main(model):
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: print("interrupted", flush=True))
    sampler = VllmSampler(parts(model, max_tokens=16, cache_bytes=50 << 20))
    await sampler.start()
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        completion = await sampler.complete(range(5, 50), None)
        print(completion.finish_reason, len(completion.token_ids), flush=True)

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), small=False)


@pytest.fixture(scope="module")
def base(model: Path) -> Base:
    """The same model in transformers."""
    from ttsd.backbone import LoraShape, load_base

    base = load_base(str(model), dtype="float32", device="cpu")
    base.wire(LoraShape(RANK, 2.0 * RANK, "all-linear"))
    return base


@pytest.fixture(scope="module")
def adapters(base: Base, tmp_path_factory: pytest.TempPathFactory) -> AdapterMaker:
    """Writes an adapter far from zero; another name or version has other weights."""
    import torch

    from ttsd.backbone import Adapter

    folder = tmp_path_factory.mktemp("adapters")

    def make(name: str, version: int) -> AdapterRef:
        seed = hash((name, version)) % 2**31
        values = 0.2 * torch.randn(base.adapter_size, generator=torch.Generator().manual_seed(seed))
        ref = AdapterRef(name, version, folder / f"{name}-{version}")
        base.export(Adapter(base.shapes, values), ref.path)
        return ref

    return make


@pytest.fixture(scope="module")
def owner(model: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns an engine of its own. It starts up beside the others' engine."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", OWNER, str(model)]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def engine(owner: subprocess.Popen[str]) -> int:
    """The process of the owner's engine, once it stands ready."""
    (engine,) = map(int, _line(owner).split())
    return engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sampler(model: Path, owner: object) -> AsyncIterator[VllmSampler]:
    sampler = VllmSampler(settings(model))
    await sampler.start()
    yield sampler
    await sampler.close()
    assert sampler._launch is not None
    shutil.rmtree(sampler._launch.folder, ignore_errors=True)  # kept for the log, as the last test kills the engine


def settings(path: object, **changes: Any) -> SamplerParts:
    defaults = {"max_tokens": 64, "stop": (STOP,), "adapters": 3, "rank": RANK, "cache_bytes": CACHE_MIB << 20}
    return parts(str(path), **{"dtype": "float32", **defaults, **changes})


def reference(base: Base, ref: AdapterRef | None, prompt: Sequence[int], completion: Completion) -> list[float]:
    """Log-probabilities of the completion's tokens according to transformers."""
    import torch

    adapter = None if ref is None else base.load_adapter(ref.path)
    ids = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad(), base.attached(adapter):
        logits = base.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    table = torch.log_softmax(logits, dim=-1)
    return table[torch.arange(len(table)), ids[0, len(prompt) :]].tolist()


def distance(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(first, second, strict=True))


async def test_an_import_of_vllm_is_not_waited_for(model: Path) -> None:
    """In a process of its own, where vLLM has not been imported yet; its end comes while the import goes on."""
    interrupted = """
import asyncio, os, sys
from ttsd.sampling.background import unfinished
from tests.sampler_parts import parts
from ttsd.sampling.vllm_sampler import VllmSampler

async def main(model):
    starting = asyncio.create_task(VllmSampler(parts(model, max_tokens=16)).start())
    await asyncio.sleep(0.2)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    print(starting.cancelled(), unfinished(), "vllm.v1.engine.async_llm" in sys.modules, flush=True)
    os._exit(0)

asyncio.run(main(sys.argv[1]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", interrupted, str(model)], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert ended.stdout.split() == ["True", "True", "False"], ended.stderr


async def test_start_that_is_cancelled_leaves_no_process(model: Path, owner: object) -> None:
    before = set(multiprocessing.active_children())
    starting = asyncio.create_task(VllmSampler(settings(model)).start())
    while not set(multiprocessing.active_children()) - before:
        await asyncio.sleep(0.1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    del starting
    gc.collect()
    assert set(multiprocessing.active_children()) == before


async def test_completions_are_aligned_and_agree_with_transformers(sampler: VllmSampler, base: Base) -> None:
    before = sampler.stats.tokens
    drawn = await asyncio.gather(*(sampler.complete(PROMPT, None) for _ in range(16)))
    for completion in drawn:
        ids = completion.token_ids
        assert len(completion.logprobs) == len(ids) <= 64
        assert completion.text == " ".join(map(str, ids))
        assert completion.adapter_version == 0
        assert completion.seconds > 0
        assert STOP not in ids[:-1]
        assert completion.finish_reason == ("stop" if ids[-1] == STOP else "length")
        assert distance(completion.logprobs, reference(base, None, PROMPT, completion)) < 1e-4
    assert len({completion.token_ids for completion in drawn}) > 1
    assert sampler.stats.tokens - before == sum(len(completion.token_ids) for completion in drawn)


async def test_a_drawn_stop_token_belongs_to_the_completion(sampler: VllmSampler) -> None:
    drawn = await asyncio.gather(*(sampler.complete((5, at), None, max_tokens=200) for at in range(5, 69)))
    stopped = [completion for completion in drawn if completion.finish_reason == "stop"]
    assert stopped
    assert all(completion.token_ids[-1] == STOP for completion in stopped)
    assert all(len(completion.token_ids) == 200 for completion in drawn if completion.finish_reason == "length")


async def test_an_adapter_changes_the_output_and_agrees_with_transformers(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker
) -> None:
    ref = adapters("one", 1)
    await sampler.swap(None, ref)
    completion = await sampler.complete(PROMPT, ref)
    assert completion.adapter_version == 1
    assert distance(completion.logprobs, reference(base, ref, PROMPT, completion)) < 1e-4
    assert distance(completion.logprobs, reference(base, None, PROMPT, completion)) > 0.1
    await sampler.drop(ref)


async def test_many_versions_leave_no_stale_weights_and_no_full_slots(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker
) -> None:
    old: AdapterRef | None = None
    for version in range(1, 9):
        new = adapters("swapped", version)
        await sampler.swap(old, new)
        completion = await sampler.complete(PROMPT, new, max_tokens=8)
        assert completion.adapter_version == version
        assert distance(completion.logprobs, reference(base, new, PROMPT, completion)) < 1e-4
        assert len(await sampler._engine.list_loras()) == 1
        old = new
    assert old is not None
    await sampler.drop(old)
    assert not await sampler._engine.list_loras()


async def test_a_name_and_version_that_come_again_have_the_new_weights(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker
) -> None:
    first, second = adapters("first", 1), adapters("second", 1)
    ref = AdapterRef("again", 1, first.path)
    for path in (first.path, second.path):
        (first.path.parent / "again").unlink(missing_ok=True)
        (first.path.parent / "again").symlink_to(path)
        ref = AdapterRef("again", 1, first.path.parent / "again")
        await sampler.swap(None, ref)
        completion = await sampler.complete(PROMPT, ref, max_tokens=8)
        assert distance(completion.logprobs, reference(base, ref, PROMPT, completion)) < 1e-4
        await sampler.drop(ref)


async def test_two_questions_and_the_base_share_a_batch(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker
) -> None:
    ours, theirs = adapters("ours", 1), adapters("theirs", 1)
    await sampler.swap(None, ours)
    await sampler.swap(None, theirs)
    refs = [ours, theirs, None] * 4
    drawn = await asyncio.gather(*(sampler.complete(PROMPT, ref, max_tokens=24) for ref in refs))
    for ref, completion in zip(refs, drawn, strict=True):
        assert distance(completion.logprobs, reference(base, ref, PROMPT, completion)) < 1e-4
    await sampler.drop(ours)
    await sampler.drop(theirs)


class Counting:
    """The engine itself, and how many adapters it has held at one time."""

    def __init__(self, engine: Any, held: int) -> None:
        self._engine, self._held, self.most = engine, held, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def add_lora(self, lora: Any) -> Any:
        self._held += 1
        self.most = max(self.most, self._held)
        return await self._engine.add_lora(lora)

    async def remove_lora(self, number: int) -> Any:
        removed = await self._engine.remove_lora(number)
        self._held -= 1
        return removed


async def test_two_questions_that_swap_at_once_disturb_no_third(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A and B change versions while C decodes. There is one free slot: one more adapter would drive out another."""
    a, b, c = (adapters(name, 1) for name in ("a", "b", "c"))
    for ref in (a, b, c):
        await sampler.swap(None, ref)
    counting = Counting(sampler._engine, held=3)
    monkeypatch.setattr(sampler, "_engine", counting)
    decoding = [asyncio.create_task(sampler.complete((5, 6, at), c, max_tokens=200)) for at in range(7, 15)]
    for version in range(2, 8):
        new_a, new_b = adapters("a", version), adapters("b", version)
        await asyncio.gather(sampler.swap(a, new_a), sampler.swap(b, new_b))
        a, b = new_a, new_b
    for at, task in enumerate(decoding, start=7):
        completion = await task
        assert distance(completion.logprobs, reference(base, c, (5, 6, at), completion)) < 1e-4
    assert counting.most == lora_slots(sampler.parts)
    for ref in (a, b, c):
        await sampler.drop(ref)
    assert not await sampler._engine.list_loras()


async def test_the_size_of_the_cache_and_what_it_could_not_hold_are_told(sampler: VllmSampler, base: Base) -> None:
    """4 layers of 96 numbers in float32, keys and values. What is taken back is begun again and comes out right."""
    tokens = int(sampler.info["kv_cache_tokens"])
    assert tokens == pytest.approx((CACHE_MIB << 20) / (2 * 4 * 96 * 4), rel=0.05)
    prompts = [(5, 6, at) for at in range(7, 71)]
    drawn = await asyncio.gather(*(sampler.complete(prompt, None, max_tokens=200) for prompt in prompts))
    assert sampler.stats.preemptions > 0
    for prompt, completion in zip(prompts, drawn, strict=True):
        assert distance(completion.logprobs, reference(base, None, prompt, completion)) < 1e-4


async def test_cancelling_frees_the_engine_at_once(sampler: VllmSampler) -> None:
    drawing = [asyncio.create_task(sampler.complete((5, at), None, max_tokens=1900)) for at in range(5, 13)]
    await asyncio.sleep(0.5)
    for task in drawing:
        task.cancel()
    finished = await asyncio.gather(*drawing, return_exceptions=True)
    cut = sum(isinstance(end, asyncio.CancelledError) for end in finished)
    assert cut >= 1
    tokens = sampler.stats.tokens
    await asyncio.sleep(0.3)
    assert sampler.stats.tokens == tokens
    assert sampler._engine.get_num_unfinished_requests() == 0


async def test_mistakes_are_one_sentence(sampler: VllmSampler, adapters: AdapterMaker, tmp_path: Path) -> None:
    ref = adapters("absent", 3)
    with pytest.raises(InfrastructureError, match=r"adapter absent version 3 is not in the sampler"):
        await sampler.complete(PROMPT, ref)
    with pytest.raises(UserError, match="prompt of 2048 tokens leaves no room in the model's length of 2048"):
        await sampler.complete(PROMPT[:1] * 2048, None)
    with pytest.raises(UserError, match="the prompt is empty"):
        await sampler.complete((), None)
    with pytest.raises(InfrastructureError, match=r"adapter gone version 1 in .* can't be loaded"):
        await sampler.swap(None, AdapterRef("gone", 1, tmp_path / "nowhere"))
    await sampler.health()


async def test_full_slots_leave_the_base_alone_and_take_no_more(
    sampler: VllmSampler, base: Base, adapters: AdapterMaker
) -> None:
    refs = [adapters(f"slot{at}", 1) for at in range(5)]
    for ref in refs[:4]:
        await sampler.swap(None, ref)
    with pytest.raises(InfrastructureError, match="no slot is free for adapter slot4 version 1"):
        await sampler.swap(None, refs[4])
    with pytest.raises(InfrastructureError, match="is in the sampler already"):
        await sampler.swap(None, refs[0])
    drawn = await asyncio.gather(*(sampler.complete(PROMPT, ref, max_tokens=16) for ref in [*refs[:4], None]))
    for ref in refs:
        await sampler.drop(ref)
    drawn.append(await sampler.complete(PROMPT, None, max_tokens=16))
    for completion, ref in zip(drawn, [*refs[:4], None, None], strict=True):
        assert distance(completion.logprobs, reference(base, ref, PROMPT, completion)) < 1e-4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_model_len": 4096}, "max_model_len \\(4096\\) is greater"),
        ({"device": "cuda"}, "model.device=cuda but the installed vLLM runs on cpu"),
        ({"path": "/no/such/folder"}, r"can't use the model '/no/such/folder'"),
        ({"cache_bytes": 1 << 20}, r"too small for one text of full length: .* raise model\.kv_cache_gib, or lower"),
        ({"rank": 513}, "lora.rank=513 is more than the 512"),
    ],
)
async def test_start_refuses_what_cannot_be(
    sampler: VllmSampler, model: Path, changes: dict[str, Any], sentence: str
) -> None:
    refused = VllmSampler(settings(**{"path": str(model), **changes}))
    with pytest.raises(UserError, match=sentence) as caught:
        await refused.start()
    assert "\n" not in str(caught.value)
    await refused.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # importing vLLM
async def test_vllm_is_started_with_what_the_plan_counts_with() -> None:
    """On a GPU with the cache that is planned; on any device with the sequences that `capacity` assumes."""
    config = load_config(model="Qwen/Qwen3-8B", overrides=["model.sampler=vllm", "distillation.checkpoint_over=0"])
    cache_bytes, share = vllm_cache(config, KNOWN["Qwen/Qwen3-8B"], Hardware(79.1 * GIB), 1)
    wanted = parts("m", max_tokens=8192, adapters=1, cache_bytes=cache_bytes, gpu_share=share)
    for device in ("cuda", "cpu"):
        arguments = engine_args(wanted, device)
        assert arguments["kv_cache_memory_bytes"] == cache_bytes
        assert arguments["max_num_seqs"] == VLLM.max_sequences
        assert arguments["max_num_batched_tokens"] == MAX_BATCHED_TOKENS[device]
    assert engine_args(wanted, "cuda")["gpu_memory_utilization"] == share
    one_at_a_time = Config.model_validate({"method": "multi-turn", "model": {"sampler": "vllm"}})
    runs = capacity(one_at_a_time, KNOWN["Qwen/Qwen3-0.6B"], 9999, Hardware(1e13))
    assert (runs.runs, runs.limit) == (256, "limit: the sampler decodes 256 completions at once")


async def test_start_without_vllm_says_what_to_do(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"vLLM is not installed; .*model\.sampler=transformers"):
        await VllmSampler(settings(model)).start()


async def test_an_engine_that_dies_is_an_infrastructure_fault(sampler: VllmSampler, adapters: AdapterMaker) -> None:
    """The shared engine's end: keep it last of its tests."""
    (engine,) = (child for child in multiprocessing.active_children() if child.name == "EngineCore")
    drawing = [asyncio.create_task(sampler.complete((5, 6), None, max_tokens=1900)) for _ in range(32)]
    await asyncio.sleep(0.1)
    engine.kill()
    drawn = await asyncio.gather(*drawing, return_exceptions=True)
    faults = [str(end) for end in drawn if isinstance(end, InfrastructureError)]  # some may have ended before
    assert faults
    assert all(fault.startswith("the vLLM engine failed") for fault in faults)
    with pytest.raises(InfrastructureError, match="the vLLM engine failed"):
        await sampler.health()
    with pytest.raises(InfrastructureError, match=r"^the vLLM engine failed"):  # and not the adapter
        await sampler.swap(None, adapters("late", 1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_all_processes_spares_the_engine(
    owner: subprocess.Popen[str], engine: int, number: signal.Signals
) -> None:
    """To the process group as a shell sends it, and to the engine itself as a scheduler does."""
    assert owner.stdin is not None
    os.killpg(owner.pid, number)
    assert _line(owner) == "interrupted"
    os.kill(engine, number)
    owner.stdin.write("go on\n")
    owner.stdin.flush()
    assert _line(owner) == "length 16"


async def test_an_engine_ends_with_its_killed_owner(owner: subprocess.Popen[str], engine: int) -> None:
    owner.kill()
    deadline = time.monotonic() + 10
    while lives(engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(engine)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 120)[0], "the owner of an engine says nothing"
    return process.stdout.readline().strip()
