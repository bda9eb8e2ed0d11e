"""Chooses from what was pulled, by date, difficulty, platform and row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from problems.collection import Entry, Index
from problems.problem import ProblemError, hint


@dataclass(frozen=True, slots=True)
class Filter:
    """Says what an entry must be. Empty fields leave everything.

    `since` is the first day and `until` the day after the last one (YYYY-MM-DD). `indices` are rows, counted from 0
    among those that the other fields leave, in the release's order; refused rows count, so that numbers stay the same.
    `pool`: how many rows that must be; another number means another release than `release`, whose indices would mean
    other questions.
    """

    since: str = ""
    until: str = ""
    difficulty: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    indices: tuple[int, ...] | None = None
    pool: int | None = None
    release: str = ""


def select(found: Index, wanted: Filter) -> list[Entry]:
    """Returns the entries that `wanted` leaves, refused ones too; raises ProblemError where nothing can fit."""
    for day in (wanted.since, wanted.until):
        _check_day(day)
    for field in ("difficulty", "platform"):
        _check_known(getattr(wanted, field), {getattr(entry, field) for entry in found.entries}, field, found.scheme)
    entries = [entry for entry in found.entries if _fits(entry, wanted)]
    if wanted.pool is not None and len(entries) != wanted.pool:
        raise ProblemError(
            f"the filter leaves {len(entries)} of the {found.scheme}: questions on this machine where it should leave "
            f"{wanted.pool}: pull the release that it was written for{wanted.release and f', {wanted.release}'}"
        )
    return entries if wanted.indices is None else [_at(entries, index) for index in wanted.indices]


def names(found: Index, wanted: Filter) -> list[str]:
    """Returns the names of the questions that `wanted` leaves; ProblemError where one chosen by index is unusable."""
    entries = select(found, wanted)
    refused = [entry for entry in entries if not entry.file]
    if refused and wanted.indices is not None:
        raise ProblemError(
            f"{found.scheme}:{refused[0].question_id} was pulled but can't be used: {refused[0].refused}"
        )
    return [f"{found.scheme}:{entry.question_id}" for entry in entries if entry.file]


def _fits(entry: Entry, wanted: Filter) -> bool:
    day = entry.date[:10]
    return (
        (not wanted.since or day >= wanted.since)
        and (not wanted.until or "" < day < wanted.until)
        and (not wanted.difficulty or entry.difficulty in wanted.difficulty)
        and (not wanted.platform or entry.platform in wanted.platform)
    )


def _at(entries: Sequence[Entry], index: int) -> Entry:
    if not 0 <= index < len(entries):
        raise ProblemError(f"there is no row {index} among the {len(entries)} that the filter leaves: count from 0")
    return entries[index]


def _check_day(day: str) -> None:
    try:
        if day and date.fromisoformat(day).isoformat() != day:
            raise ValueError
    except ValueError:
        raise ProblemError(f"{day!r} is no day: write it as 2025-02-01") from None


def _check_known(given: Iterable[str], known: set[str], field: str, scheme: str) -> None:
    for value in given:
        if value not in known:
            choices = sorted(known - {""})
            guess = hint(value, choices, f"there are: {', '.join(choices[:20]) or 'not known for any'}")
            raise ProblemError(f"no {scheme}: question has the {field} {value!r}; {guess}")
