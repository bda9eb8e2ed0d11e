"""Seconds of the parts of a step, from the lowest to the highest that may be expected, or as measured.

Drawing lasts as long as the longest completion of the group (`lengths`). Linear layers, attention and the vocabulary
are counted; kernels are assumed to reach a share of the peak between the two below.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttsd.config import Config
from ttsd.machine.cards import Card
from ttsd.machine.lengths import SPREADS, Lengths
from ttsd.machine.measured import Measured
from ttsd.machine.memory import FP8_BYTES, NF4_BYTES, number_bytes, state_bytes
from ttsd.machine.shape import Shape

_MATMUL_SHARES = (0.5, 0.3)  # of peak: at best, at worst
_BANDWIDTH_SHARES = (0.75, 0.5)
_LAYER_SECONDS = (0.8e-3, 1.1e-3)  # what transformers' Python takes for one layer of one token, whatever the card
_NF4_LAYER_SECONDS = (1.3e-3, 1.7e-3)  # with bitsandbytes' kernels for four bits, at small batches
_COPY_RATES = (3e9, 0.8e9)  # bytes per second, of an adapter to a memory-backed file and from there to the sampler
_STATE_RATES = (6e9, 2e9)  # bytes per second, of a learner's state from where it learns into main memory
_DISK_RATES = (2e9, 0.5e9)  # bytes per second
_SWAP_SECONDS = (0.05, 0.3)  # what a swap takes besides copying
IN_BACKGROUND = "in the background, while the next group is drawn"
_JUDGE_SECONDS = 0.3  # of the last completion, at best; at worst `judge.cpu_seconds`


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds, from the lowest to the highest that may be expected."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def at_least(self, other: Span) -> Span:
        return Span(max(self.low, other.low), max(self.high, other.high))

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.high * factor)

    def __str__(self) -> str:
        if self.high - self.low < 0.05:
            return f"{self.high:.1f}"
        return f"{self.low:.1f} to {self.high:.1f}" if self.high < 10 else f"{self.low:.0f} to {self.high:.0f}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step: who is at it, what it does, how long it takes."""

    where: str
    what: str
    seconds: Span
    note: str = ""


class StepTime:
    """Seconds under `config` for a model of `shape` on `card`; what was `measured` there takes precedence."""

    def __init__(self, config: Config, shape: Shape, card: Card, measured: Measured | None = None) -> None:
        self._config, self._shape, self._card, self._measured = config, shape, card, measured
        self._width = number_bytes(config, on_cpu=card.is_cpu)

    def parts(self, lengths: Lengths) -> tuple[Part, ...]:
        """Of a step of one question that has the engine to itself."""
        return (self.drawing(lengths), self._judging(), *self.learning(lengths), *self._moving())

    def drawing(self, lengths: Lengths) -> Part:
        """Until the longest completion has ended; the others' judging goes on meanwhile."""
        token = self.token(lengths.group, self.cache_row(lengths), adapters=1)
        low, high = (lengths.longest(spread) for spread in SPREADS)
        note = f"{lengths.group} x {lengths.completion} tokens, the longest {low:.0f} to {high:.0f}"
        return Part("sampler", "sample", Span(token.low * low, token.high * high), note)

    def token(self, at_once: int, cache_row: float, *, adapters: int) -> Span:
        """Seconds in which each of `at_once` completions grows by a token; `cache_row`: bytes of cache of each.

        Everything is read once for all of them, but for their own keys and values; many of them make it arithmetic.
        """
        if self._measured is not None:
            seconds = self._measured.token_seconds(at_once)
            return Span(seconds, seconds)
        config, shape, width = self._config, self._shape, self._width
        by_python = config.model.sampler == "transformers"
        nf4 = by_python and config.model.quantize_base == "nf4"
        linear = NF4_BYTES if nf4 else FP8_BYTES if config.model.sampler_quantization == "fp8" else width
        weights = shape.linear * linear + shape.vocab * shape.hidden * width
        read = weights + at_once * cache_row + adapters * shape.adapter(config.lora.rank) * width
        work = at_once * 2.0 * (shape.linear + shape.vocab * shape.hidden)
        python = _NF4_LAYER_SECONDS if nf4 else _LAYER_SECONDS if by_python else (0.0, 0.0)
        cards = config.model.tensor_parallel_size
        low, high = (
            max(
                read / cards / (self._card.gb_per_second * 1e9 * _BANDWIDTH_SHARES[case]),
                work / cards / self._rate(case),
                shape.layers * python[case],
            )
            for case in (0, 1)
        )
        return Span(low, high)

    def cache_row(self, lengths: Lengths) -> float:
        """Bytes of keys and values of one completion, halfway."""
        return self._shape.kv_bytes(lengths.prompt + lengths.completion // 2, self._width)

    def learning(self, lengths: Lengths) -> tuple[Part, ...]:
        """The teacher's and the student's passes."""
        if self._measured is not None:
            tokens = lengths.teacher + lengths.student
            seconds = self._measured.learning_seconds(tokens)
            return (Part("trainer", "teacher and student", Span(seconds, seconds), f"{tokens} tokens"),)
        shape, distillation = self._shape, self._config.distillation
        longest = max(lengths.prompt + lengths.completion, min(distillation.token_budget, lengths.student))
        keeps = min(1.0, distillation.checkpoint_over / longest) if distillation.gradient_checkpointing else 1.0
        backward = 3.0 - keeps  # forward, backward, forward again
        vocabulary = 2.0 * shape.vocab * shape.hidden * lengths.group * lengths.completion
        student = self._forward(lengths.student, lengths.prompt + lengths.completion) * backward + 2 * vocabulary
        passes = 2 if self._config.teacher.teacher_regularization == "trust-region" else 1
        teacher = passes * (self._forward(lengths.teacher, lengths.reprompt + lengths.completion) + vocabulary)
        return (
            Part("trainer", "teacher", self._working(teacher), f"{lengths.teacher} tokens"),
            Part("trainer", "student", self._working(student), f"{lengths.student} tokens"),
        )

    def _moving(self) -> tuple[Part, ...]:
        """The new adapter into the sampler, and the learner's state into main memory and from there onto the disk."""
        adapter, state = (
            self._shape.adapter(self._config.lora.rank) * self._width,
            state_bytes(self._config, self._shape),
        )
        if (found := self._measured) is not None:
            moved = (found.export_seconds, found.swap_seconds, found.copy_seconds, found.save_seconds)
            export, swap, copy, save = (Span(seconds, seconds) for seconds in moved)
        else:
            export = _copying(adapter, _COPY_RATES)
            swap = export + Span(*_SWAP_SECONDS)
            copy, save = _copying(state, _STATE_RATES), _copying(state, _DISK_RATES)
        return (
            Part("trainer", "export", export, f"{adapter / 1e6:.0f} MB"),
            Part("sampler", "swap", swap, f"{adapter / 1e6:.0f} MB"),
            Part("trainer", "copy state", copy, f"{state / 1e6:.0f} MB"),
            Part("store", "save", save, f"{state / 1e6:.0f} MB {IN_BACKGROUND}"),
        )

    def _judging(self) -> Part:
        return Part("judge", "judge", Span(_JUDGE_SECONDS, self._config.judge.cpu_seconds), "the last completion")

    def _forward(self, tokens: int, context: int) -> float:
        """FLOPs of a forward pass over `tokens` that see half of `context` on average."""
        return tokens * (2.0 * self._shape.linear + 2.0 * self._shape.layers * self._shape.queries * context)

    def _working(self, flops: float) -> Span:
        return Span(flops / self._rate(0), flops / self._rate(1))

    def _rate(self, case: int) -> float:
        return self._card.tflops * 1e12 * _MATMUL_SHARES[case]


def _copying(bytes_: float, rates: tuple[float, float]) -> Span:
    return Span(bytes_ / rates[0], bytes_ / rates[1])
