"""What graphics cards and a laptop have, as a program finds it: less memory than the name says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ttsd.errors import UserError

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Card:
    """Memory that CUDA reports, in GiB; dense TFLOP/s (16-bit; of a CPU 32-bit) and GB/s, as the maker states them.

    `trainer_gib`: of the card that the trainer has to itself, if it has one; None: as much.
    """

    gib: float
    tflops: float
    gb_per_second: float
    is_cpu: bool = False
    trainer_gib: float | None = None


CARDS = {
    "h200-141": Card(139.8, 989, 4800),
    "h100-80": Card(79.1, 989, 3350),
    "a100-80": Card(79.1, 312, 2039),
    "l40s-48": Card(44.5, 362, 864),
    "rtx4090-24": Card(23.5, 165, 1008),
    "l4-24": Card(22.0, 121, 300),
    "laptop-cpu": Card(16, 1.0, 60, is_cpu=True),  # 8 cores with AVX2, two channels of DDR5
}


_LAPTOP_CORES, _CORES_TO_FILL_MEMORY = 8, 4  # of the laptop in the table; half of them can use its memory's whole speed


def card_called(name: str, gib: float, *, trainer_gib: float | None = None) -> Card | None:
    """The card that CUDA calls `name`, with `gib` of memory; None: it is not in the table."""
    words = name.upper().replace("RTX ", "RTX").replace("-", " ").split()
    known = next((card for key, card in CARDS.items() if key.partition("-")[0].upper() in words), None)
    return None if known is None else replace(known, gib=gib, trainer_gib=trainer_gib)


def cpu_with(cores: int, gib: float) -> Card:
    """A processor of which `cores` may be used, each as fast as one of the laptop's."""
    laptop = CARDS["laptop-cpu"]
    bandwidth = laptop.gb_per_second * min(1.0, cores / _CORES_TO_FILL_MEMORY)
    return Card(gib, laptop.tflops * cores / _LAPTOP_CORES, bandwidth, is_cpu=True)


def card_named(name: str) -> Card:
    """UserError: no such card is known."""
    if name not in CARDS:
        raise UserError(
            f"no card {name!r} is known; choose one of {', '.join(CARDS)}, or give the JSON file that "
            "ttsd doctor --measure wrote"
        )
    return CARDS[name]
