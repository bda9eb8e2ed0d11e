"""What graphics cards and a laptop have, as a program finds it: less memory than the name says."""

from __future__ import annotations

from dataclasses import dataclass

from ttsd.errors import UserError

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Card:
    """Memory that CUDA reports, in GiB; dense TFLOP/s (16-bit; of a CPU 32-bit) and GB/s, as the maker states them."""

    gib: float
    tflops: float
    gb_per_second: float
    is_cpu: bool = False


CARDS = {
    "h200-141": Card(139.8, 989, 4800),
    "h100-80": Card(79.1, 989, 3350),
    "a100-80": Card(79.1, 312, 2039),
    "l40s-48": Card(44.5, 362, 864),
    "rtx4090-24": Card(23.5, 165, 1008),
    "l4-24": Card(22.0, 121, 300),
    "laptop-cpu": Card(16, 1.0, 60, is_cpu=True),  # 8 cores with AVX2, two channels of DDR5
}


def card_named(name: str) -> Card:
    """UserError: no such card is known."""
    if name not in CARDS:
        raise UserError(
            f"no card {name!r} is known; choose one of {', '.join(CARDS)}, or give the JSON file that "
            "ttsd doctor --measure wrote"
        )
    return CARDS[name]
