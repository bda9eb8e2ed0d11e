"""The door to vLLM: its asynchronous engine with multi-LoRA, on CUDA or on a CPU, behind the `Sampler` protocol.

The engine runs in a process of its own, which
- writes to a log file, so that nothing but `ttsd` talks on the terminal; the log is kept only when the engine fails;
- doesn't see Ctrl-C: the owner decides what happens to running requests;
- kills itself when its owner is gone, however that happened.

An adapter version is known to vLLM by a name and a number that are never used twice, so neither weights nor cached
prefixes of an earlier version can be mistaken for it. Requests carry no seed of their own (on a CPU a seeded request
kills the engine); the engine as a whole is seeded. Nothing here knows text except through the `decode` it is given.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ttsd.errors import InfrastructureError, TtsdError, UserError
from ttsd.nouns import Completion
from ttsd.samplers import AdapterRef, Decode, SamplerStats, check_new, checked_length, resident

if TYPE_CHECKING:
    from torch import Tensor

GIB = 1 << 30
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has slots for
LOG = "engine.log"
STREAM_INTERVAL = 8  # tokens between two messages of one request: the counters lag by no more


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """What the engine is started with.

    `adapters`: how many questions share it (0: no LoRA at all); `threads`: of a CPU engine, None: half the cores.
    """

    model: str
    max_tokens: int
    stop_token_ids: tuple[int, ...]
    adapters: int = 1
    max_lora_rank: int = 32
    temperature: float = 1.0
    top_p: float = 1.0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.45
    kv_cache_gib: float = 1.0
    tensor_parallel_size: int = 1
    threads: int | None = None
    seed: int = 0


class VllmSampler:
    """A `Sampler` on vLLM. Every method but `start` and `close` needs a started engine."""

    def __init__(self, settings: VllmSettings, decode: Decode) -> None:
        self.settings = settings
        self.stats = SamplerStats()
        self.info: Mapping[str, str] = {}
        self._decode = decode
        self._engine: Any = None
        self._launch: _Launch | None = None
        self._resident: dict[AdapterRef, Any] = {}
        self._adapter_ids = itertools.count(1)
        self._request_ids = itertools.count(1)

    async def start(self) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise UserError(
                'vLLM is not installed; run `pip install "ttsd[gpu]"` (CUDA) or `make` (CPU), '
                "or sample without it: --set model.sampler=transformers"
            )
        self._launch = _Launch(self.settings)
        await self._launch.run()
        self._engine = self._launch.take()
        self.info = self._launch.info
        await self.complete((self.settings.stop_token_ids or (0,))[:1], None, max_tokens=1)  # warms the kernels up
        self.stats = SamplerStats()

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        engine, lora = self._started(), resident(self._resident, adapter)
        limit = engine.model_config.max_model_len
        params = self._params(checked_length(len(prompt_ids), max_tokens or self.settings.max_tokens, limit))
        prompt, name, start = {"prompt_token_ids": list(prompt_ids)}, str(next(self._request_ids)), time.monotonic()
        drawn = _Drawn([], [])
        try:
            async with aclosing(engine.generate(prompt, params, name, lora_request=lora)) as outputs:
                async for output in outputs:
                    self.stats.tokens += drawn.extend(output.outputs[0])
        except asyncio.CancelledError:
            self.stats.aborted += 1
            raise
        except Exception as error:
            raise self._failure(error) from error
        self.stats.completions += 1
        return Completion(
            token_ids=tuple(drawn.token_ids),
            text=self._decode(drawn.token_ids),
            logprobs=tuple(drawn.logprobs),
            finish_reason=drawn.finish_reason,
            adapter_version=adapter.version if adapter else 0,
            prompt_tokens=len(prompt_ids),
            seconds=time.monotonic() - start,
        )

    async def swap(self, old: AdapterRef | None, new: AdapterRef) -> None:
        check_new(self._resident, new)
        await self._load(new)
        if old is not None:
            await self.drop(old)

    async def drop(self, ref: AdapterRef) -> None:
        lora = self._resident.pop(ref, None)
        if lora is not None and self._engine is not None and not self._engine.errored:
            try:
                await self._engine.remove_lora(lora.lora_int_id)
            except Exception as error:
                raise self._failure(error) from error

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        self._resident.clear()
        if engine is not None:
            engine.shutdown(timeout=0)  # by a signal: it has nothing to save
            del engine
            await _collect_contexts()
        if self._launch is not None:
            self._launch.tidy()

    async def health(self) -> None:
        try:
            await self._started().check_health()
        except TtsdError:
            raise
        except Exception as error:
            raise self._failure(error) from error

    async def _load(self, ref: AdapterRef) -> None:
        from vllm.lora.request import LoRARequest

        engine, number = self._started(), next(self._adapter_ids)
        if len(self._resident) >= _lora_slots(self.settings):
            raise InfrastructureError(
                f"no slot is free for adapter {ref}: the sampler was started for {self.settings.adapters} questions; "
                "drop one first or start it for more"
            )
        lora = LoRARequest(f"{ref.name}-v{ref.version}-{number}", number, str(ref.path))
        try:
            await engine.add_lora(lora)
        except Exception as error:
            raise self._failure(error, f"the adapter {ref} in {ref.path} can't be loaded") from error
        self._resident[ref] = lora

    def _params(self, max_tokens: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            stop_token_ids=list(self.settings.stop_token_ids),
            ignore_eos=True,  # the stop tokens are said above; the model's own opinion may differ
            logprobs=0,  # of the sampled token only
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _started(self) -> Any:
        if self._engine is None:
            raise InfrastructureError("the vLLM engine is not running; call start() first")
        return self._engine

    def _failure(self, error: Exception, what: str = "the vLLM engine failed") -> InfrastructureError:
        assert self._launch is not None
        return InfrastructureError(f"{what}: {self._launch.cause(error)}")


@dataclass(slots=True)
class _Drawn:
    """Tokens of one request as they arrive, each with its log-probability."""

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: Literal["stop", "length", "abort"] = "abort"

    def extend(self, delta: Any) -> int:
        """Adds one message of the engine's; returns how many tokens it brought."""
        self.token_ids += delta.token_ids
        self.logprobs += [
            entry[token].logprob for token, entry in zip(delta.token_ids, delta.logprobs or (), strict=True)
        ]
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        return len(delta.token_ids)


class _Launch:
    """Starting the engine's process, and the folder of its log and sockets."""

    def __init__(self, settings: VllmSettings) -> None:
        self.settings = settings
        self.info: dict[str, str] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="ttsd-vllm-"))
        self._engine: Any = None
        self._failed = False
        self._abandoned = threading.Event()
        self._before = set(multiprocessing.active_children())

    async def run(self) -> None:
        """Starts the engine, without blocking the event loop. When cancelled, ends only after its process is gone."""
        task = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._abandon()
            await asyncio.wait([task])
            if task.exception() is None:
                self.take().shutdown(timeout=0)
            self._failed = False
            self.tidy()
            raise
        finally:
            del task
            if self._engine is None:
                await _collect_contexts()

    def take(self) -> Any:
        """The engine; it is the caller's from now on."""
        engine, self._engine = self._engine, None
        return engine

    def cause(self, error: BaseException) -> str:
        """Why the engine failed, in its own words from the log if it left any, else in those of `error`."""
        self._failed = True
        log = self.folder / LOG
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        said = re.findall(r"\b(?:\w+\.)*\w*(?:Error|Exception): (.+)", text)
        return f"{_sentence(said[-1] if said else str(error) or repr(error))} (vLLM's log: {log})"

    def tidy(self) -> None:
        if not self._failed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _abandon(self) -> None:
        self._abandoned.set()
        for child in set(multiprocessing.active_children()) - self._before:
            if child.name.startswith("EngineCore"):
                child.kill()

    def _start(self) -> None:
        """Leaves the engine in a field: vLLM keeps this frame, and a returned engine with it, until Python ends."""
        with _environment(self._variables()):
            config, llm = self._configured()
            with _environment(self._variables()), _interrupts_blocked():  # the device is known by now
                if self._abandoned.is_set():
                    raise InfrastructureError("the vLLM engine was abandoned before it started")
                try:
                    self._engine = llm.from_vllm_config(config, disable_log_stats=True)
                except Exception as error:
                    raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> TtsdError:
        cause = self.cause(error)
        if "LoRA" in cause:
            return UserError(
                f"vLLM can't serve adapters on {self.settings.model!r}: {cause}; choose another model.path "
                "or --set model.sampler=transformers"
            )
        return InfrastructureError(f"vLLM can't start on {self.settings.model!r}: {cause}")

    def _configured(self) -> tuple[Any, Any]:
        """vLLM's resolved configuration and its engine class; importing them is what takes long."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments, llm, device = _imported()
            _check_device(self.settings.device, device.device_type)
            self.info |= _info(device)
            wanted = _engine_args(self.settings, device.device_type)
            try:
                config = arguments(**wanted).create_engine_config()
            except Exception as error:
                raise UserError(
                    f"vLLM can't use the model {self.settings.model!r}: {_sentence(str(error))}; "
                    "check model.path and the other settings of [model]"
                ) from error
            self.info["dtype"] = str(config.model_config.dtype).removeprefix("torch.")
            return config, llm

    def _variables(self) -> dict[str, str]:
        common = {
            "TTSD_ENGINE_OWNER": str(os.getpid()),
            "TTSD_ENGINE_FOLDER": str(self.folder),
            "VLLM_RPC_BASE_PATH": str(self.folder),
            "VLLM_CONFIGURE_LOGGING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "PYTHONWARNINGS": "ignore",
        }
        if self.info.get("device") != "cpu":
            return common
        return common | {
            "OMP_NUM_THREADS": str(self.settings.threads or max(1, len(os.sched_getaffinity(0)) // 2)),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Eager mode still compiles the log-probability kernels: 17 s at the first batch, and a C++ compiler.
            "TORCHDYNAMO_DISABLE": "1",
        }


def _imported() -> tuple[Any, Any, Any]:
    """vLLM's classes of arguments and engine, and its platform; it must not talk on our terminal."""
    logger = logging.getLogger("vllm")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    try:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except Exception as error:  # a broken environment shows itself in many ways
        raise InfrastructureError(
            f"vLLM is installed but can't be imported ({_sentence(str(error) or repr(error))}); install it anew, "
            "with the torch that it asks for, or --set model.sampler=transformers"
        ) from error
    return AsyncEngineArgs, AsyncLLM, current_platform


def _engine_args(settings: VllmSettings, device: str) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs`."""
    common = {
        "model": settings.model,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": _dtype(settings.dtype, device),
        "max_model_len": settings.max_model_len,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "distributed_executor_backend": _executor(
            "OneProcess" if settings.tensor_parallel_size == 1 else "ManyProcesses"
        ),
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "stream_interval": STREAM_INTERVAL,
        "seed": settings.seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    return common | _lora_args(settings) | _memory_args(settings, device)


def _dtype(wanted: str, device: str) -> str:
    """`auto` as the trainer resolves it."""
    if wanted != "auto":
        return wanted
    return "float32" if device == "cpu" else "bfloat16"


def _lora_args(settings: VllmSettings) -> dict[str, Any]:
    if not settings.adapters:
        return {}
    slots, rank = _lora_slots(settings), settings.max_lora_rank
    if rank > LORA_RANKS[-1]:
        raise UserError(
            f"lora.rank={rank} is more than the {LORA_RANKS[-1]} that vLLM serves; lower it or "
            "--set model.sampler=transformers"
        )
    return {
        "enable_lora": True,
        "max_loras": slots,
        "max_lora_rank": next(slot for slot in LORA_RANKS if slot >= rank),
    }


def _lora_slots(settings: VllmSettings) -> int:
    """One a question, and one more for the version that is about to take over."""
    return settings.adapters + 1


def _memory_args(settings: VllmSettings, device: str) -> dict[str, Any]:
    if device == "cpu":
        return {"kv_cache_memory_bytes": int(settings.kv_cache_gib * GIB), "enforce_eager": True}
    return {"gpu_memory_utilization": settings.gpu_memory_utilization}


def _check_device(wanted: str, found: str) -> None:
    if wanted not in ("auto", found):
        raise UserError(
            f"model.device={wanted} but the installed vLLM runs on {found or 'no device of this machine'}; "
            "install the other build or set model.device=auto"
        )


def _info(platform: Any) -> dict[str, str]:
    device = platform.device_type
    name = "vllm-cpu" if device == "cpu" else "vllm"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = metadata.version("vllm")
    return {
        "sampler": "vllm",
        "vllm": version,
        "torch": metadata.version("torch"),
        "device": device,
        "device_name": platform.get_device_name(),
    }


def _sentence(text: str) -> str:
    """The telling sentence of a many-lined message, without its stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = next((line for line in lines if line.startswith("Value error, ")), lines[0] if lines else text)
    return re.split(r"(?<=[\w)\"'])\.\s", telling.removeprefix("Value error, "))[0][:400].rstrip(". ")


async def _collect_contexts() -> None:
    """vLLM leaves the context of its sockets to the garbage collector, and Python warns of that at a random moment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await asyncio.sleep(0.05)  # vLLM's tasks end
        gc.collect()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets `variables` for the processes started inside, and undoes afterwards whatever vLLM adds to them."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Blocks SIGINT in this thread, and so for good in the processes it starts: a mask is inherited."""
    multiprocessing.resource_tracker.ensure_running()  # the start of which would unblock it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def __getattr__(name: str) -> Any:
    """vLLM's executors under names of this module, so that each of the engine's processes comes here for its own."""
    if name in ("OneProcess", "ManyProcesses"):
        return _executor(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _executor(name: str) -> type:
    _settle_engine_process()
    module, base = {
        "OneProcess": ("vllm.v1.executor.uniproc_executor", "UniProcExecutor"),
        "ManyProcesses": ("vllm.v1.executor.multiproc_executor", "MultiprocExecutor"),
    }[name]
    return type(name, (getattr(import_module(module), base),), {"__module__": __name__})


def _settle_engine_process() -> None:
    """In a process of the engine's: talk into the log, don't outlive the owner, mend LoRA. Elsewhere: nothing."""
    owner = os.environ.get("TTSD_ENGINE_OWNER")
    if owner is None or int(owner) == os.getpid():
        return
    tempfile.tempdir = folder = os.environ["TTSD_ENGINE_FOLDER"]
    log = os.open(Path(folder, LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    threading.Thread(target=_follow_owner, args=(folder,), name="follow-owner", daemon=True).start()
    wrapper = import_module("vllm.lora.punica_wrapper.punica_cpu").PunicaWrapperCPU
    wrapper.add_lora_linear = _add_lora_linear


def _follow_owner(folder: str) -> None:
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(0.1)  # multiprocessing is still unpickling what this process is for
    parent.join()
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _add_lora_linear(
    wrapper: Any,
    output: Tensor,
    inputs: Tensor,
    a_slots: Sequence[Tensor],
    b_slots: Sequence[Tensor],
    scale: float,
    widths: Sequence[int],
    **_: Any,
) -> None:
    """Adds each token's adapter to `output` (tokens, sum of widths), on a CPU: one product per adapter in the batch.

    vLLM's own copies the adapter's weights for every token, which costs three times the model itself, and takes the
    last slot's for the base model's tokens. Weights: (slots, 1, rank, in) and (slots, 1, width, rank).
    """
    output, inputs = output.view(-1, output.shape[-1]), inputs.view(-1, inputs.shape[-1])
    of_token = wrapper.token_lora_indices
    present = of_token.unique().tolist()
    for slot in present:
        if slot < 0:
            continue  # the base model
        rows = slice(None) if len(present) == 1 else (of_token == slot).nonzero()[:, 0]
        own, start = inputs[rows].float(), 0
        for a, b, width in zip(a_slots, b_slots, widths, strict=True):
            added = own @ a[slot, 0].float().T @ b[slot, 0].float().T
            output[rows, start : start + width] += (added * scale).to(output.dtype)
            start += width
