"""Collapse: attempts that used to pass cases come to fail them. A policy in that state does not recover."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import fmean

from ttsd.nouns import Attempt

RECENT = 4  # groups that have to agree


class Collapse:
    """Detects a collapse, group by group; what follows from it is the loop's business.

    `seen` takes finished groups in order. True: the last RECENT pass less than half of the visible cases that the best
    RECENT passed; it then starts over. Attempts that never pass a case can't collapse.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._best = 0.0

    def seen(self, rollouts: Sequence[Attempt]) -> bool:
        self._recent.append(fmean(rollout.verdict.visible_fraction for rollout in rollouts))
        if len(self._recent) < RECENT:
            return False
        now = fmean(self._recent)
        self._best = max(self._best, now)
        collapsed = now < self._best / 2
        if collapsed:
            self._recent.clear()
            self._best = 0.0
        return collapsed
