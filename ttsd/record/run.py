"""One run as one value: the question, the seed and the settings, which name the method.

The same value asked for again is the same run: it is resumed where it was stopped, and not repeated once finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from problems.split import split
from ttsd.config import Config, flat
from ttsd.methods import Method, method_named
from ttsd.nouns import Problem, Split
from ttsd.terminal import one_line

# What may differ when a run is resumed: how far it goes, where it is stored, and how many processes help.
FREE_SETTINGS = {
    "budget.attempts",
    "budget.tokens",
    "budget.seconds",
    "store.path",
    "store.state_dir",
    "store.track",
    "judge.slots",
}


@dataclass(frozen=True, slots=True)
class Run:
    """A question with its tests, the seed, and all settings."""

    problem: Problem
    config: Config
    seed: int = 0

    def __str__(self) -> str:
        return one_line(f"{self.question} {self.method} seed {self.seed}")

    @property
    def question(self) -> str:
        """Returns the question's name."""
        return self.problem.name

    @property
    def method(self) -> Method:
        """Returns the method that the settings name. UserError: there is none of that name."""
        return method_named(self.config.method)

    @property
    def split(self) -> Split:
        """Returns the division into visible and hidden cases, as the settings or the question's source want it."""
        mode = self.problem.default_split if self.config.judge.split == "auto" else self.config.judge.split
        return split(self.problem, mode, self.config.judge.split_seed)

    @property
    def fingerprint(self) -> str:
        """Returns a hash of all that a run must agree on to be resumed."""
        facts = {"question": self.question, "seed": self.seed, "settings": binding(self.config.model_dump())}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def facts(self) -> dict[str, Any]:
        """Returns the columns of the run's row that are known before it starts."""
        return {
            "question": self.question,
            "method": self.method.name,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "model": self.config.model.path,
            "config": self.config.model_dump(),
            "split": asdict(self.split),
        }


def binding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a resumed run must keep, by their place, as in `lora.lr`."""
    return {place: value for place, value in flat(config).items() if place not in FREE_SETTINGS}


def changed_settings(recorded: Mapping[str, Any], config: Config) -> list[str]:
    """Returns the binding settings that differ, in words, as in `lora.lr (0.1 before, now 0.2)`."""
    before, now = binding(recorded), binding(config.model_dump())
    return [
        f"{place} ({before.get(place)!r} before, now {value!r})"
        for place, value in now.items()
        if before.get(place) != value
    ]


def wants_more(row: Mapping[str, Any], attempts: int, config: Config) -> bool:
    """Tells whether a run that ended has more to do under these settings: its budget has grown."""
    if attempts >= config.budget.attempts:
        return False
    ended = row["ended"]
    if ended not in ("tokens", "seconds"):
        return True
    before, now = row["config"]["budget"][ended], getattr(config.budget, ended)
    return now is None or (before is not None and now > before)
