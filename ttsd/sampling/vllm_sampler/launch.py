"""Starting the engine in a process of its own, and what it says when it can't.

Its process
- writes to a log file, so that nothing but `ttsd` talks on the terminal; the log is kept only when the engine fails;
- hears neither SIGINT nor SIGTERM, whether sent to it or to its group: the owner decides what becomes of requests;
- kills itself when its owner is gone, however that happened (`engine_process`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from ttsd.config import Model
from ttsd.config.model import gpu_number
from ttsd.errors import InfrastructureError, TtsdError, UserError
from ttsd.sampling.background import in_background
from ttsd.sampling.kinds import VLLM, SamplerParts
from ttsd.sampling.vllm_sampler.engine_process import LOG, executor

MAX_BATCHED_TOKENS = {"cuda": 8192, "cpu": 2048}  # of one forward pass; prompts are read in pieces of at most so many
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has slots for
STREAM_INTERVAL = 8  # tokens between two messages of one request: the counters lag by no more
_EIGHT_BITS = 89  # the lowest compute capability that multiplies in 8 bits: Ada's


class Launch:
    """Starting the engine's process, and the folder of its log and sockets."""

    def __init__(self, parts: SamplerParts) -> None:
        self.parts = parts
        self.info: dict[str, str] = {}
        self.preemptions = Preemptions()
        self.folder = Path(tempfile.mkdtemp(prefix="ttsd-vllm-"))
        self._engine: Any = None
        self._failed = self._began = False
        self._process_lock = threading.Lock()  # held while the engine's process starts
        self._abandoned = False
        self._before = set(multiprocessing.active_children())

    async def run(self) -> None:
        """Starts the engine, without blocking the event loop. When cancelled, leaves no process and ends at once.

        An import of vLLM that has begun can't be stopped: its thread continues, and then starts nothing.
        """
        starting = in_background(self._start)
        try:
            await asyncio.wrap_future(starting)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._abandon, starting)
            self.tidy()
            raise
        finally:
            del starting
            if self._engine is None and self._began:
                await collect_contexts()

    def take(self) -> Any:
        """Returns the engine; it is the caller's from now on."""
        engine, self._engine = self._engine, None
        return engine

    def cause(self, error: BaseException) -> str:
        """Says why the engine failed, in its own words from the log if it left any, else in those of `error`."""
        self._failed = True
        log = self.folder / LOG
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        said = re.findall(r"\b(?:\w+\.)*\w*(?:Error|Exception): (.+)", text)
        return f"{_sentence(said[-1] if said else str(error) or repr(error))} (vLLM's log: {log})"

    def tidy(self) -> None:
        if not self._failed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _abandon(self, starting: Future[None]) -> None:
        """Kills the engine's process if there is one, and sees to it that there will be none."""
        self._abandoned = True
        while not self._process_lock.acquire(timeout=0.1):
            for child in set(multiprocessing.active_children()) - self._before:
                if child.name.startswith("EngineCore"):
                    child.kill()
        self._process_lock.release()
        if self._engine is not None:
            self.take().shutdown(timeout=0)
        self._failed = False

    def _start(self) -> None:
        """Leaves the engine in a field: vLLM keeps this frame, and a returned engine with it, until Python ends."""
        with _environment(self._variables()):
            config, llm = self._configured()
            # The device is known by now.
            with _environment(self._variables()), self._process_lock, _signals_blocked(), _script_hidden():
                if self._abandoned:
                    raise InfrastructureError("the vLLM engine was abandoned before it started")
                self._began = True
                try:
                    loggers = [lambda *_: self.preemptions]
                    self._engine = llm.from_vllm_config(config, disable_log_stats=True, stat_loggers=loggers)
                except Exception as error:
                    raise self._refusal(error) from error
            self.info["kv_cache_tokens"] = str(config.cache_config.kv_cache_size_tokens)

    def _refusal(self, error: Exception) -> TtsdError:
        cause = self.cause(error)
        if "memory for the cache blocks" in cause or "at least one request" in cause:
            return UserError(
                f"the vLLM engine's memory is too small for one text of full length: {cause.partition('. ')[0]}; raise "
                "model.kv_cache_gib, or lower model.max_model_len"
            )
        if "Free memory on device" in cause:
            return UserError(
                f"somebody else uses the GPU: {cause.partition('. ')[0]}; end that, or lower model.kv_cache_gib"
            )
        if "LoRA" in cause:
            return UserError(
                f"vLLM can't serve adapters on {self.parts.path!r}: {cause}; choose another model.path "
                "or --set model.sampler=transformers"
            )
        return InfrastructureError(f"vLLM can't start on {self.parts.path!r}: {cause}")

    def _configured(self) -> tuple[Any, Any]:
        """Returns vLLM's resolved configuration and its engine class; importing them is what takes long."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments, llm, device = _imported()
            _check_device(self.parts.config.model, device)
            self.info |= _info(device, gpu_number(self.parts.config.model.sampler_on[0]))
            wanted = engine_args(self.parts, device.device_type)
            try:
                config = arguments(**wanted).create_engine_config()
            except Exception as error:
                raise UserError(
                    f"vLLM can't use the model {self.parts.path!r}: {_sentence(str(error))}; "
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
            "PYTHONSAFEPATH": "1",
        }
        if self.info.get("device") != "cpu":
            return common
        return common | {
            "OMP_NUM_THREADS": str(self.parts.threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Eager mode still compiles the log-probability kernels: 17 s at the first batch, and a C++ compiler.
            "TORCHDYNAMO_DISABLE": "1",
        }


class Preemptions:
    """How often vLLM took a completion's keys and values away because its cache was full: one of its stat loggers."""

    def __init__(self) -> None:
        self.count = 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
        if iteration_stats is not None:
            self.count += iteration_stats.num_preempted_reqs

    def log_engine_initialized(self) -> None: ...

    def log(self) -> None: ...

    def record_sleep_state(self, is_awake: int, level: int) -> None: ...


def _imported() -> tuple[Any, Any, Any]:
    """Imports vLLM's classes of arguments and engine, and its platform; it must not talk on our terminal."""
    logger = logging.getLogger("vllm")
    logger.addHandler(logging.NullHandler())
    logger.propagate = logging.getLogger().hasHandlers()  # only where the user asked for a log
    try:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except Exception as error:  # a broken environment shows itself in many ways
        raise InfrastructureError(
            f"vLLM is installed but can't be imported ({_sentence(str(error) or repr(error))}); install it again, "
            "with the torch that it asks for, or --set model.sampler=transformers"
        ) from error
    return AsyncEngineArgs, AsyncLLM, current_platform


def _check_device(model: Model, platform: Any) -> None:
    wanted, found = model.device.partition(":")[0], platform.device_type
    if wanted not in ("auto", found):
        raise UserError(
            f"model.device={wanted} but the installed vLLM runs on {found or 'no device of this machine'}; "
            "install the other build or set model.device=auto"
        )
    if model.sampler_bits == "fp8" and not (
        found == "cuda" and platform.has_device_capability(_EIGHT_BITS, gpu_number(model.sampler_on[0]))
    ):
        raise UserError(
            "model.quantization=fp8 needs a GPU that computes in 8 bits (Ada, Hopper or newer), and the sampler "
            f"runs on {platform.get_device_name(gpu_number(model.sampler_on[0]))}; use model.quantization=none"
        )


def engine_args(parts: SamplerParts, device: str) -> dict[str, Any]:
    """Returns the arguments of vLLM's `AsyncEngineArgs`."""
    from ttsd.backbone import resolved_dtype

    model = parts.config.model
    common = {
        "model": parts.path,
        "trust_remote_code": False,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": resolved_dtype(model.dtype, device),
        "max_model_len": model.max_model_len,
        "tensor_parallel_size": model.tensor_parallel_size,
        "distributed_executor_backend": executor("OneProcess" if model.tensor_parallel_size == 1 else "ManyProcesses"),
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "kv_cache_memory_bytes": parts.cache_bytes,
        "max_num_seqs": VLLM.max_sequences,
        "max_num_batched_tokens": MAX_BATCHED_TOKENS.get(device, MAX_BATCHED_TOKENS["cuda"]),
        "stream_interval": STREAM_INTERVAL,
        "seed": parts.seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "language_model_only": True,  # what sees pictures would need a tokenizer, and memory
    }
    own = {"enforce_eager": True} if device == "cpu" else {"gpu_memory_utilization": parts.gpu_share}
    return common | own | _lora_args(parts) | _gpu_args(model)


def _lora_args(parts: SamplerParts) -> dict[str, Any]:
    if not parts.adapters:
        return {}
    slots, rank = lora_slots(parts), parts.config.lora.rank
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


def _gpu_args(model: Model) -> dict[str, Any]:
    """Names the GPUs, by PyTorch's numbers, and how a model in 16 bits is held in 8.

    vLLM's own "fp8" reads folders that hold 8 bits already.
    """
    gpus = {"device_ids": [gpu_number(name) for name in model.sampler_on]} if ":" in model.device else {}
    return gpus | ({"quantization": "fp8_per_channel"} if model.sampler_bits == "fp8" else {})


def lora_slots(parts: SamplerParts) -> int:
    """Returns the number of adapters: one a question, and one more for the version that is about to take over."""
    return parts.adapters + 1


def _info(platform: Any, gpu: int) -> dict[str, str]:
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
        "device_name": platform.get_device_name(gpu),
    }


def _sentence(text: str) -> str:
    """Returns the telling sentence of a many-lined message, without its stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = next((line for line in lines if line.startswith("Value error, ")), lines[0] if lines else text)
    return re.split(r"(?<=[\w)\"'])\.\s", telling.removeprefix("Value error, "))[0][:400].rstrip(". ")


async def collect_contexts() -> None:
    """Collects them: vLLM leaves the context of its sockets to the garbage collector, and Python warns of that at a
    random moment.
    """
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
def _signals_blocked() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM in this thread, and so for good in the processes it starts: a mask is inherited.

    A scheduler's SIGTERM reaches every process of a job, so a process group of the engine's own would not do.
    """
    multiprocessing.resource_tracker.ensure_running()  # its start would unblock them again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Hides the user's script from the processes started inside: each would import it, and so start the run again."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
