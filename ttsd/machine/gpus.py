"""What GPUs and a laptop have of memory, as a program finds it: less than the name says."""

from __future__ import annotations

from dataclasses import dataclass

from ttsd.errors import UserError

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory that CUDA reports, in GiB, or (`is_cpu`) a machine's main memory.

    `trainer_gib`: of the GPU that the trainer has to itself, if it has one.
    """

    gib: float
    is_cpu: bool = False
    trainer_gib: float | None = None


GPUS = {
    "h200-141": Gpu(139.8),
    "h100-80": Gpu(79.1),
    "a100-80": Gpu(79.1),
    "l40s-48": Gpu(44.5),
    "rtx4090-24": Gpu(23.5),
    "l4-24": Gpu(22.0),
    "laptop-cpu": Gpu(16, is_cpu=True),
}


def gpu_named(name: str) -> Gpu:
    """Returns the GPU called `name`. UserError: none of that name is known."""
    if name not in GPUS:
        raise UserError(f"no GPU {name!r} is known; choose one of {', '.join(GPUS)}")
    return GPUS[name]
