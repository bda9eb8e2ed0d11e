"""What a vLLM engine is started with: our settings, and the arguments that they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ttsd.config.model import gpu_number
from ttsd.errors import UserError
from ttsd.sampling.kinds import VLLM
from ttsd.sampling.vllm_sampler.engine_process import executor

GIB = 1 << 30
MAX_BATCHED_TOKENS = {"cuda": 8192, "cpu": 2048}  # of one forward pass; prompts are read in pieces of at most so many
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has slots for
STREAM_INTERVAL = 8  # tokens between two messages of one request: the counters lag by no more


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """What the engine is started with.

    `adapters`: how many questions share it (0: no LoRA at all); `threads`: of a CPU engine, None: half the cores.
    `device`: auto, cpu, cuda, or the first of its GPUs, as in cuda:1; `quantization`: of the linear layers.
    `kv_cache_bytes`: for keys and values, on each GPU. On a GPU it may be None: vLLM then measures what is free, and
    whatever anybody else takes meanwhile is taken from the cache.
    """

    model: str
    max_tokens: int
    stop_token_ids: tuple[int, ...]
    adapters: int = 1
    max_lora_rank: int = 32
    temperature: float = 1.0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    quantization: Literal["none", "fp8"] = "none"
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    kv_cache_bytes: int | None = None
    tensor_parallel_size: int = 1
    threads: int | None = None
    seed: int = 0


def engine_args(settings: VllmSettings, device: str) -> dict[str, Any]:
    """Returns the arguments of vLLM's `AsyncEngineArgs`."""
    from ttsd.backbone import resolved_dtype

    common = {
        "model": settings.model,
        "trust_remote_code": False,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": resolved_dtype(settings.dtype, device, settings.model),
        "max_model_len": settings.max_model_len,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "distributed_executor_backend": executor(
            "OneProcess" if settings.tensor_parallel_size == 1 else "ManyProcesses"
        ),
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "max_num_seqs": VLLM.max_sequences,
        "max_num_batched_tokens": MAX_BATCHED_TOKENS.get(device, MAX_BATCHED_TOKENS["cuda"]),
        "stream_interval": STREAM_INTERVAL,
        "seed": settings.seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    return common | _lora_args(settings) | _memory_args(settings, device) | _gpu_args(settings)


def _lora_args(settings: VllmSettings) -> dict[str, Any]:
    if not settings.adapters:
        return {}
    slots, rank = lora_slots(settings), settings.max_lora_rank
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


def _gpu_args(settings: VllmSettings) -> dict[str, Any]:
    """Names the GPUs, by their numbers among those that PyTorch sees; and how a model in 16 bits is held in 8
    there.

    vLLM's own "fp8" reads folders that hold 8 bits already.
    """
    first, last = gpu_number(settings.device), gpu_number(settings.device) + settings.tensor_parallel_size
    gpus = {"device_ids": list(range(first, last))} if ":" in settings.device else {}
    return gpus | ({"quantization": "fp8_per_channel"} if settings.quantization == "fp8" else {})


def lora_slots(settings: VllmSettings) -> int:
    """Returns the number of adapters: one a question, and one more for the version that is about to take over."""
    return settings.adapters + 1


def _memory_args(settings: VllmSettings, device: str) -> dict[str, Any]:
    if device == "cpu":
        return {"kv_cache_memory_bytes": settings.kv_cache_bytes or GIB, "enforce_eager": True}
    cache = {} if settings.kv_cache_bytes is None else {"kv_cache_memory_bytes": settings.kv_cache_bytes}
    return {"gpu_memory_utilization": settings.gpu_memory_utilization, **cache}
