"""What `ttsd doctor --measure` found on a card: a JSON file that takes the place of the plan's assumptions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ttsd.errors import UserError


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second of `at_once` completions that are decoded together."""

    at_once: int
    tokens_per_second: float
    with_adapter: bool


@dataclass(frozen=True, slots=True)
class Learning:
    """Seconds of a gradient step, student's and teacher's passes together, that read so many tokens."""

    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds and bytes as they were on one machine, for one model and its settings."""

    model: str
    device: str
    is_cpu: bool
    card_gib: float
    load_seconds: float
    kv_cache_tokens: int
    rates: Sequence[Rate]
    learning: Sequence[Learning]
    export_seconds: float
    swap_seconds: float
    save_seconds: float
    peak_gib: Mapping[str, float]
    planned_gib: Mapping[str, float]
    copy_seconds: float = 0.0  # in older files part of `save_seconds`

    def token_seconds(self, at_once: int) -> float:
        """Seconds in which each of `at_once` completions grows by a token, with adapters; between rates: a line."""
        rates = sorted((rate for rate in self.rates if rate.with_adapter), key=lambda rate: rate.at_once)
        points = [(rate.at_once, rate.at_once / rate.tokens_per_second) for rate in rates]
        return max(0.0, _line(points, at_once))

    def learning_seconds(self, tokens: int) -> float:
        """Seconds of a gradient step that reads so many tokens."""
        return max(0.0, _line([(one.tokens, one.seconds) for one in self.learning], tokens))


def _line(points: Sequence[tuple[int, float]], at: float) -> float:
    """The value at `at` on the line through the two points around it, or through the two nearest."""
    if len(points) == 1:
        return points[0][1]
    ordered = sorted(points)
    low = max((index for index in range(len(ordered) - 1) if ordered[index][0] <= at), default=0)
    (x, value), (end, last) = ordered[low], ordered[low + 1]
    return value + (last - value) * (at - x) / (end - x)


def write(measured: Measured, file: Path) -> None:
    file.write_text(json.dumps(asdict(measured), indent=2) + "\n", "utf-8")


def read(file: Path) -> Measured:
    """UserError: it is not such a file."""
    try:
        data: dict[str, Any] = json.loads(file.read_text("utf-8"))
        known = {field.name: data[field.name] for field in fields(Measured) if field.name in data}
        known["rates"] = [Rate(**rate) for rate in data["rates"]]
        known["learning"] = [Learning(**one) for one in data["learning"]]
        return Measured(**known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(file)!r} is not a file of measurements ({error}); write one with ttsd doctor --measure --out FILE"
        ) from None
