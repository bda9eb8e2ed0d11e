"""Packs token sequences into one row in which a shared beginning is there, and computed, only once.

A group of completions shares its prompt and the teacher's reprompts share the statement, so most tokens of a step are
repeats. The sequences become a forest of segments: a segment's tokens see themselves and the segments above it. Layers
work on the packed row, which holds no padding; attention works segment by segment (`backbone.forest_attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

Tokens = tuple[int, ...]

MIN_SHARED = 8  # a shorter common part costs more as a segment of its own than it saves


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that belong together. `position` is that of the first one within its sequences."""

    tokens: tuple[int, ...]
    parent: int | None
    position: int


@dataclass(frozen=True)
class Forest:
    """`segments` in packed order, parents before children; `paths[i]`: the segments that spell sequence i."""

    segments: tuple[Segment, ...]
    paths: tuple[tuple[int, ...], ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Returns where each segment begins in the packed row; one entry more for the row's end."""
        return tuple(accumulate((len(segment.tokens) for segment in self.segments), initial=0))

    @property
    def size(self) -> int:
        return self.starts[-1]

    @property
    def token_ids(self) -> list[int]:
        return [token for segment in self.segments for token in segment.tokens]

    @property
    def positions(self) -> list[int]:
        return [segment.position + offset for segment in self.segments for offset in range(len(segment.tokens))]

    def rows(self, sequence: int) -> list[int]:
        """Returns the positions of the tokens of `sequence` in the packed row, in their order."""
        return [row for at in self.paths[sequence] for row in range(self.starts[at], self.starts[at + 1])]

    def chain(self, segment: int) -> tuple[int, ...]:
        """Returns the segments that `segment` sees, from the root to itself."""
        parent = self.segments[segment].parent
        return (segment,) if parent is None else (*self.chain(parent), segment)


def pack(sequences: Sequence[Tokens]) -> Forest:
    """Returns the forest of `sequences`, none of them empty."""
    segments: list[Segment] = []
    paths: dict[int, tuple[int, ...]] = {}

    def grow(members: list[int], start: int, at: int, path: tuple[int, ...]) -> None:
        """Members agree before `at`; what they hold before `start` is spelt by `path`."""
        for group in _split(sequences, members, at):
            end = _agreement(sequences, group, at)
            if len(group) > 1 and end - start < MIN_SHARED and end < min(len(sequences[member]) for member in group):
                grow(group, start, end, path)
                continue
            longer = [member for member in group if len(sequences[member]) > end]
            below = path
            if end > start:
                segments.append(Segment(sequences[group[0]][start:end], path[-1] if path else None, start))
                below = (*path, len(segments) - 1)
            paths.update((member, below) for member in group if len(sequences[member]) == end)
            grow(longer, end, end, below)

    grow(list(range(len(sequences))), 0, 0, ())
    return Forest(tuple(segments), tuple(paths[member] for member in range(len(sequences))))


def apart(sequences: Sequence[Tokens]) -> Forest:
    """Returns the forest of `sequences` in which none shares anything with another."""
    segments = tuple(Segment(tuple(sequence), None, 0) for sequence in sequences)
    return Forest(segments, tuple((at,) for at in range(len(sequences))))


def batches(sequences: Sequence[Tokens], budget: int, *, shares: bool = True) -> Iterator[range]:
    """Yields consecutive runs of `sequences` of at most `budget` tokens each (one sequence may exceed it).

    What counts is the packed row, or, where nothing is shared, the batch padded to its longest sequence.
    """

    def size(members: Sequence[Tokens]) -> int:
        return pack(members).size if shares else len(members) * max(map(len, members))

    first = 0
    if sequences and size(sequences) <= budget:
        first = len(sequences)
        yield range(first)
    for after in range(first + 1, len(sequences) + 1):
        whole = after == len(sequences)
        if whole or size(sequences[first : after + 1]) > budget:
            yield range(first, after)
            first = after


def _split(sequences: Sequence[Tokens], members: list[int], at: int) -> list[list[int]]:
    """Members by their token at `at`; those that end there are a group too."""
    groups: dict[int | None, list[int]] = {}
    for member in members:
        sequence = sequences[member]
        groups.setdefault(sequence[at] if at < len(sequence) else None, []).append(member)
    return list(groups.values())


def _agreement(sequences: Sequence[Tokens], members: list[int], at: int) -> int:
    """Returns the length up to which all members agree, given that they agree before `at`."""
    least, most = min(sequences[member] for member in members), max(sequences[member] for member in members)
    end = at
    while end < min(len(least), len(most)) and least[end] == most[end]:
        end += 1
    return end
