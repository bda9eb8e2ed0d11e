"""The arguments that a vLLM engine is started with."""

from __future__ import annotations

from typing import Any

from ttsd.config import Model
from ttsd.config.model import gpu_number
from ttsd.errors import UserError
from ttsd.sampling.kinds import VLLM, SamplerParts
from ttsd.sampling.vllm_sampler.engine_process import executor

MAX_BATCHED_TOKENS = {"cuda": 8192, "cpu": 2048}  # of one forward pass; prompts are read in pieces of at most so many
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has slots for
STREAM_INTERVAL = 8  # tokens between two messages of one request: the counters lag by no more


def engine_args(parts: SamplerParts, device: str) -> dict[str, Any]:
    """Returns the arguments of vLLM's `AsyncEngineArgs`."""
    from ttsd.backbone import resolved_dtype

    model = parts.config.model
    common = {
        "model": parts.path,
        "trust_remote_code": False,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": resolved_dtype(model.dtype, device, parts.path),
        "max_model_len": model.max_model_len,
        "tensor_parallel_size": model.tensor_parallel_size,
        "distributed_executor_backend": executor("OneProcess" if model.tensor_parallel_size == 1 else "ManyProcesses"),
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "max_num_seqs": VLLM.max_sequences,
        "max_num_batched_tokens": MAX_BATCHED_TOKENS.get(device, MAX_BATCHED_TOKENS["cuda"]),
        "stream_interval": STREAM_INTERVAL,
        "seed": parts.seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    return common | _lora_args(parts) | _memory_args(parts, device) | _gpu_args(model)


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
    """Names the GPUs, by their numbers among those that PyTorch sees; and how a model in 16 bits is held in 8
    there.

    vLLM's own "fp8" reads folders that hold 8 bits already.
    """
    gpus = {"device_ids": [gpu_number(name) for name in model.sampler_on]} if ":" in model.device else {}
    return gpus | ({"quantization": "fp8_per_channel"} if model.sampler_bits == "fp8" else {})


def lora_slots(parts: SamplerParts) -> int:
    """Returns the number of adapters: one a question, and one more for the version that is about to take over."""
    return parts.adapters + 1


def _memory_args(parts: SamplerParts, device: str) -> dict[str, Any]:
    own = {"enforce_eager": True} if device == "cpu" else {"gpu_memory_utilization": parts.gpu_share}
    return {"kv_cache_memory_bytes": parts.cache_bytes, **own}
