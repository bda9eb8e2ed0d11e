"""What the processor is given to do: the precision of a model's numbers, and how many cores compute."""

from __future__ import annotations

import ctypes
import os
from typing import Literal, cast

import torch  # noqa: TID253

from ttsd.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h

Dtype = Literal["float32", "bfloat16", "float16"]


def device_named(name: str) -> torch.device:
    """Returns the device that `name` means: auto, cpu, cuda, or one GPU, as in cuda:1. UserError: it is not here."""
    gpus = torch.cuda.device_count()
    wanted = torch.device("cuda" if name == "auto" and gpus else "cpu" if name == "auto" else name)
    if wanted.type == "cuda" and (wanted.index or 0) >= gpus:
        found = f"{gpus or 'no'} CUDA device{'s' * (gpus > 1)}"
        raise UserError(
            f"{name} is wanted in [model], but PyTorch finds {found} here; name another device, cpu or auto"
        )
    return wanted


def resolved_dtype(wanted: str, device: str) -> Dtype:
    """Returns the precision that sampler and trainer compute in. `device`: cpu or cuda.

    `auto` is bfloat16 on CUDA and on a CPU with instructions for it, else float32.
    """
    if wanted != "auto":
        return cast(Dtype, wanted)
    return "bfloat16" if device != "cpu" or cpu_computes_bfloat16() else "float32"


def cpu_computes_bfloat16() -> bool:
    """Tells whether this machine's CPU has AVX512-BF16 or AMX; without them bfloat16 is slower than float32."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def keep_freed_memory() -> None:
    """Has this process keep the memory of freed tensors for the next ones.

    Else glibc gives each large tensor back to the system, which has to clear it again for the next: a tenth to a third
    of the time of decoding. What is kept and does not fit what comes next adds to the peak (`return_freed_memory`).
    """
    for setting, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
        ctypes.CDLL(None).mallopt(setting, value)


def return_freed_memory() -> None:
    """Gives memory that is kept (`keep_freed_memory`) back to the system: what comes next has other sizes."""
    ctypes.CDLL(None).malloc_trim(0)


def cpu_threads(wanted: int | None, *, alone: bool, cores: int | None = None) -> int:
    """Threads of the sampler and of the trainer, each, on a CPU. `wanted`: `model.threads`, which decides if given.

    `alone`: sampler and trainer take turns (one question, on-policy), so each has every core; else half of them.
    `cores`: that the engine may have (None: as many as OMP_NUM_THREADS says, or all of the machine).
    UserError: more are wanted than the machine has cores, which would be many times slower.
    """
    if wanted is not None:
        if wanted > (most := len(os.sched_getaffinity(0))):
            raise UserError(f"model.threads={wanted} is more than the {most} cores of this machine; lower it")
        return wanted
    if cores is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        if given.isdigit():
            return int(given)
        cores = len(os.sched_getaffinity(0))
    return cores if alone else max(1, cores // 2)
