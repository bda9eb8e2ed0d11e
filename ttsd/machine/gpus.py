"""How much memory there is: on this machine, or on a GPU of the table, as a program finds it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from ttsd.config import Model
from ttsd.config.model import gpu_number
from ttsd.errors import UserError
from ttsd.sampling.kinds import SAMPLERS

GIB = float(1 << 30)
_GROUP = Path("/sys/fs/cgroup")


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


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has.

    `gpus`: the bytes of each; `memory`: of main memory, used or not; `capability`: of the GPUs, as CUDA counts (89 is
    Ada); `bfloat16`: the processor computes it; `samplers`: those that are installed.
    """

    gpus: tuple[float, ...] = ()
    memory: float = 64 * GIB
    capability: int = 0
    bfloat16: bool = False
    samplers: tuple[str, ...] = tuple(SAMPLERS)

    def __str__(self) -> str:
        if not self.gpus:
            return f"{self.memory / GIB:.0f} GiB of main memory"
        counted = "a GPU" if len(self.gpus) == 1 else f"{len(self.gpus)} GPUs"
        return f"{counted} of {min(self.gpus) / GIB:.1f} GiB"

    @property
    def size(self) -> float:
        """Returns the bytes of all GPUs, or of main memory where there is none."""
        return sum(self.gpus) or self.memory

    def used_by(self, model: Model) -> Hardware:
        """Returns what the devices in the section [model] have. UserError: one of them is not there."""
        if model.device == "cpu" or (model.device == "auto" and not self.gpus):
            return Hardware(free=self.memory)
        if model.gpus > len(self.gpus):
            here = "has no GPU" if not self.gpus else f"has {len(self.gpus)} GPUs, counted from 0"
            raise UserError(
                f"model.device={model.device} names a GPU, but the machine {here}; name another, cpu or auto"
            )
        first, trainer = gpu_number(model.sampler_on[0]), gpu_number(model.trainer_on)
        sampler = min(self.gpus[first : first + model.tensor_parallel_size])
        return Hardware(sampler, self.memory, self.gpus[trainer] if model.apart else None)


GPUS = {  # GiB as CUDA finds them, less than the name says, and capability
    "h200-141": (139.8, 90),
    "h100-80": (79.1, 90),
    "a100-80": (79.1, 80),
    "l40s-48": (44.5, 89),
    "a6000-48": (47.4, 86),
    "a100-40": (39.4, 80),
    "rtx5090-32": (31.4, 120),
    "rtx4090-24": (23.5, 89),
    "rtx3090-24": (23.6, 86),
    "l4-24": (22.0, 89),
    "t4-16": (14.6, 75),
}


def machine_named(name: str) -> Machine:
    """Returns a machine that need not be here: `h100-80`, `2xrtx4090-24`, or `cpu-16` with 16 GB of main memory.

    UserError: there is none of that name.
    """
    if cpu := re.fullmatch(r"cpu-(\d+)", name):
        return Machine(memory=int(cpu[1]) * 1e9)
    count, gpu = several.groups() if (several := re.fullmatch(r"([1-9]\d?)x(.+)", name)) else ("1", name)
    if gpu not in GPUS:
        raise UserError(
            f"no GPU {name!r} is known; choose one of {', '.join(GPUS)}, several as in 2xh100-80, or cpu-16 for a "
            "processor with 16 GB"
        )
    gib, capability = GPUS[gpu]
    return Machine((gib * GIB,) * int(count), capability=capability)


def this_machine() -> Machine:
    """Examines this machine. No CUDA context is made: that would take half a GiB of a GPU."""
    import torch

    from ttsd.backbone.processor import cpu_computes_bfloat16

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    capability = min((10 * gpu.major + gpu.minor for gpu in found), default=0)
    memory = min(float(psutil.virtual_memory().total), _limit() or math.inf)
    samplers = tuple(name for name, kind in SAMPLERS.items() if kind.installed)
    sizes = tuple(float(gpu.total_memory) for gpu in found)
    return Machine(sizes, memory, capability, cpu_computes_bfloat16(), samplers)


def hardware_for(model: Model) -> Hardware:
    """Examines this machine's devices that the section [model] names. UserError: one of them is not here."""
    return replace(this_machine().used_by(model), free=_free_bytes())


def _free_bytes() -> float:
    """Returns the bytes of main memory that are available within the limit of this process's control group."""
    free, limit, used = float(psutil.virtual_memory().available), _limit(), _number(_GROUP / "memory.current")
    return free if limit is None or used is None else min(free, limit - used)


def _limit() -> float | None:
    return _number(_GROUP / "memory.max")


def _number(file: Path) -> float | None:
    text = file.read_text().strip() if file.is_file() else ""
    return float(text) if text.isdigit() else None
