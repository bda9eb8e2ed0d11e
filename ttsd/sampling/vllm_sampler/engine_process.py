"""What runs inside the engine's own processes: vLLM's executors, made to come here first."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LOG = "engine.log"


def __getattr__(name: str) -> Any:
    """Returns vLLM's executors under names of this module, so that each of the engine's processes comes here for its
    own.
    """
    if name in ("OneProcess", "ManyProcesses"):
        return executor(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def executor(name: str) -> type:
    _settle_engine_process()
    module, base = {
        "OneProcess": ("vllm.v1.executor.uniproc_executor", "UniProcExecutor"),
        "ManyProcesses": ("vllm.v1.executor.multiproc_executor", "MultiprocExecutor"),
    }[name]
    return type(name, (getattr(import_module(module), base),), {"__module__": __name__})


def _settle_engine_process() -> None:
    """Prepares a process of the engine's: it writes to the log, ends with its owner, has our LoRA product.

    Elsewhere nothing.
    """
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
