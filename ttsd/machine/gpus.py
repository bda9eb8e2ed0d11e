"""How much memory there is: on this machine, or on a GPU of the table, as a program finds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from ttsd.config import Model
from ttsd.errors import UserError

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Hardware:
    """The memory that a run may use, in bytes.

    `gpu`: of the sampler's GPU (0: everything runs on the CPU); `free`: of main memory that no program uses;
    `trainer_gpu`: of the trainer's GPU, if that is another one.
    """

    gpu: float = 0.0
    free: float = 0.0
    trainer_gpu: float | None = None

    def __str__(self) -> str:
        if self.is_cpu:
            return f"{self.free / GIB:.1f} GiB of free memory"
        if self.trainer_gpu is None:
            return f"a GPU of {self.gpu / GIB:.1f} GiB"
        return f"a GPU of {self.trainer_gpu / GIB:.1f} GiB for the trainer and of {self.gpu / GIB:.1f} for the sampler"

    @property
    def is_cpu(self) -> bool:
        """Tells whether everything runs on the CPU."""
        return not self.gpu


GPUS = {
    "h200-141": Hardware(139.8 * GIB),  # CUDA finds less than the name says
    "h100-80": Hardware(79.1 * GIB),
    "a100-80": Hardware(79.1 * GIB),
    "l40s-48": Hardware(44.5 * GIB),
    "rtx4090-24": Hardware(23.5 * GIB),
    "l4-24": Hardware(22.0 * GIB),
    "laptop-cpu": Hardware(free=16 * GIB),
}


def gpu_named(name: str) -> Hardware:
    """Returns the GPU called `name`. UserError: the table has none of that name."""
    if name not in GPUS:
        raise UserError(f"no GPU {name!r} is known; choose one of {', '.join(GPUS)}")
    return GPUS[name]


def hardware_for(model: Model) -> Hardware:
    """Examines this machine's devices that the section [model] names. UserError: one of them is not here."""
    sampler = min(map(_gpu_bytes, model.sampler_on))
    return Hardware(sampler, _free_bytes(), _gpu_bytes(model.trainer_on) if model.apart else None)


def _gpu_bytes(device: str) -> float:
    """Returns the bytes of a GPU, 0 for a CPU. No CUDA context is made on it: that would take half a GiB of it."""
    import torch

    from ttsd.backbone.processor import device_named

    place = device_named(device)
    return 0.0 if place.type == "cpu" else float(torch.cuda.get_device_properties(place).total_memory)


def _free_bytes() -> float:
    """Returns the bytes of main memory that are available within the limit of this process's control group."""
    free = float(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, limit - used)


def _number(file: Path) -> float | None:
    text = file.read_text().strip() if file.is_file() else ""
    return float(text) if text.isdigit() else None
