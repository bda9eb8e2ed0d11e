"""Asks vLLM and the trainer for the same log-probabilities, for a small random model of each family of today.

    python -m tests.bench.families_in_vllm [NAME ...]    # of FAMILIES (all of them) or of OTHERS

Prints one line a family: how far they are apart in nats a token, a swapped adapter included, or what was refused. Each
family starts an engine of its own, which takes half a minute. The sizes are the smallest that vLLM's kernels take.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.families import FAMILIES, OTHERS, write_family

SIZES = {
    "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 512,
    "global_head_dim": 64, "max_position_embeddings": 1024, "mamba_n_heads": 8, "mamba_d_head": 64,
    "moe_intermediate_size": 512,
}  # fmt: skip
SETTINGS = (
    "model.sampler=vllm",
    "model.dtype=float32",
    "model.kv_cache_gib=1",
    "model.max_model_len=1024",
    "sampling.max_tokens=256",
    "sampling.max_prompt_len=512",
    "reprompt.max_reprompt_len=512",
)


def tried(name: str, folder: Path) -> str:
    """Returns what the check at the start says of one family."""
    write_family(*((name, folder) if name in FAMILIES else (OTHERS[name][0], folder, OTHERS[name][1])), larger=SIZES)
    script = (
        "import asyncio, sys\n"
        "from ttsd.config import load_config\n"
        "from ttsd.running.fitting import hot_swap\n"
        "print(asyncio.run(hot_swap(load_config(None, sys.argv[2:], model=sys.argv[1]))).detail)"
    )
    command = [sys.executable, "-c", script, str(folder), *SETTINGS]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    return (ended.stdout.strip().splitlines() or ended.stderr.strip().splitlines() or ["nothing was said"])[-1]


if __name__ == "__main__":
    for family in sys.argv[1:] or FAMILIES:
        with tempfile.TemporaryDirectory() as place:
            print(f"{family}: {tried(family, Path(place) / 'model')}", flush=True)
