"""How much memory and time a step would take on a card, from the model's own config.json; nothing is loaded.

Memory is the worst case of the settings, time is for whatever lengths are given, from the lowest to the highest that
may be expected. It is a plan to choose settings by; `ttsd doctor --measure` writes measurements in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ttsd.config import Config
from ttsd.machine.cards import GIB, Card
from ttsd.machine.lengths import Lengths, usual_lengths
from ttsd.machine.measured import Measured
from ttsd.machine.memory import Memory, memory_of
from ttsd.machine.shape import Shape
from ttsd.machine.step_time import Part, Span, StepTime
from ttsd.sampling.vllm_sampler.settings import MAX_SEQUENCES


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory of all questions, the seconds of a step of one of them, and what sharing the engine does.

    `at_once`: completions decoded together. Decoding and learning are counted one after the other: on one card they
    compete for it, so their overlap is gained only in part. Where each has a card of its own (`apart`), several
    questions, or one that draws one step off, keep both at work (`overlaps`). Saving goes on in the background.
    """

    questions: int
    apart: bool
    overlaps: bool
    memory: Memory
    time: tuple[Part, ...]
    at_once: int
    tokens_per_second: Span
    decode_seconds: Span
    learn_seconds: Span
    other_seconds: Span
    saving_seconds: Span

    @property
    def fits(self) -> bool:
        return self.memory.fits

    @property
    def gib(self) -> float:
        return sum(self.memory.needs.values()) / GIB

    @property
    def wall_seconds(self) -> Span:
        """Of a step of every question."""
        decode, learn = self.decode_seconds, self.learn_seconds
        both = decode.at_least(learn) if self.overlaps else decode + learn
        return (both + self.other_seconds).at_least(self.saving_seconds)

    def gain(self, alone: Plan) -> float:
        """How many times faster than one question after the other, in the middle of both ranges."""
        mine, theirs = (plan.wall_seconds.low + plan.wall_seconds.high for plan in (self, alone))
        return self.questions * theirs / mine / alone.questions


def plan(
    config: Config,
    model: Mapping[str, Any],
    card: Card,
    *,
    questions: int = 1,
    completion_tokens: int | None = None,
    measured: Measured | None = None,
) -> Plan:
    """Of `questions` questions on one engine, for the model whose config.json is `model`.

    `completion_tokens`: of a completion on average, for the times; None: every length at its limit.
    """
    shape, lengths = Shape.read(model), usual_lengths(config, completion_tokens)
    memory, times = memory_of(config, shape, card, questions=questions), StepTime(config, shape, card, measured)
    parts = times.parts(lengths)
    at_once = _at_once(config, card, memory, questions, lengths, times)
    token = times.token(at_once, times.cache_row(lengths), adapters=questions)
    apart = config.model.apart and not card.is_cpu
    return Plan(
        questions=questions,
        apart=apart,
        overlaps=apart and (questions > 1 or config.sampling.pipeline == "one-step-off"),
        memory=memory,
        time=parts,
        at_once=at_once,
        tokens_per_second=Span(at_once / token.high, at_once / token.low),
        decode_seconds=_decoding(config, parts, token, questions, lengths, at_once),
        learn_seconds=_sum(part for part in parts if part.where == "trainer").times(questions),
        other_seconds=_sum(part for part in parts if part.where == "judge") + _swapping(parts, questions),
        saving_seconds=_sum(part for part in parts if part.where == "store").times(questions),
    )


def _at_once(config: Config, card: Card, memory: Memory, questions: int, lengths: Lengths, times: StepTime) -> int:
    """Completions that are decoded together: as many as are wanted, allowed, and have room for keys and values."""
    if config.model.sampler == "transformers":
        return lengths.group  # it serves one adapter at a time
    room = config.model.kv_cache_gib * GIB if card.is_cpu else memory.cache * config.model.tensor_parallel_size
    return max(1, min(questions * lengths.group, MAX_SEQUENCES, int(room / times.cache_row(lengths))))


def _decoding(
    config: Config, parts: tuple[Part, ...], token: Span, questions: int, lengths: Lengths, at_once: int
) -> Span:
    """One question waits for its longest completion; many keep the sampler full, and wait for the sum of all."""
    alone = next(part.seconds for part in parts if part.what == "sample")
    if config.model.sampler == "transformers":
        return alone.times(questions)
    rounds = questions * lengths.group * lengths.completion / at_once
    return Span(max(alone.low, rounds * token.low), max(alone.high, rounds * token.high))


def _swapping(parts: tuple[Part, ...], questions: int) -> Span:
    return next(part.seconds for part in parts if part.what == "swap").times(questions)


def _sum(parts: Iterable[Part]) -> Span:
    return sum((part.seconds for part in parts), Span(0.0, 0.0))
