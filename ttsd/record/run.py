"""One run as one value: the question, the seed and the settings, which name the method.

The same value asked for again is the same run: it is resumed where it was stopped, and not repeated once finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from problems.split import split
from ttsd.config import Config, Endpoint, flat
from ttsd.errors import UserError
from ttsd.methods import METHODS, Method, method_named
from ttsd.nouns import Problem, Split
from ttsd.terminal import one_line

# What may differ when a run is resumed: how far it goes, where it is stored, and what a machine does it with.
FREE_SETTINGS = {
    "budget.attempts",
    "budget.tokens",
    "budget.seconds",
    "budget.dollars",
    *(f"endpoint.{name}" for name in Endpoint.model_fields),
    "store.path",
    "store.state_dir",
    "store.track",
    "store.track_text",
    "judge.slots",
    "model.device",
    "model.kv_cache_gib",
    "model.tensor_parallel_size",
    "model.threads",
    "distillation.token_budget",
    "distillation.checkpoint_over",
}
SEEDS = 1 << 32  # what the random numbers of every sampler can begin with


@dataclass(frozen=True, slots=True)
class Run:
    """A question with its tests, the seed, and all settings.

    UserError: its method can't train this, or a bad seed or label.
    """

    problem: Problem
    config: Config
    seed: int = 0
    label: str | None = None  # the user's own name for it; another label is the same run

    def __post_init__(self) -> None:
        if self.method.learns and not self.config.model.local:
            able = ", ".join(name for name, method in METHODS.items() if not method.learns)
            raise UserError(
                f"{self.method} trains the model, and the one at {self.config.model.path} can only be asked; choose "
                f"one of {able}, or a model on this machine (model.path)"
            )
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"the seed {self.seed} is out of range; give one of 0 to {SEEDS - 1}")
        if self.label is not None and not self.label.isprintable():
            raise UserError(f"the label {self.label!r} has a character that can't be printed; leave that out")

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
        return split(self.problem, mode)

    @property
    def fingerprint(self) -> str:
        """Returns a hash of all that a run must agree on to be resumed."""
        facts = {"question": self.question, "seed": self.seed, "settings": binding(self.config.model_dump())}
        facts["contents"] = contents_digest(self.problem)
        if self.config.lora.init is not None:
            facts["init"] = adapter_digest(self.config.lora.init)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def facts(self) -> dict[str, Any]:
        """Returns the columns of the run's row that are known before it starts."""
        return {
            "question": self.question,
            "method": self.method.name,
            "seed": self.seed,
            "label": self.label,
            "fingerprint": self.fingerprint,
            "model": self.config.model.label,
            "config": self.config.model_dump(),
            "split": asdict(self.split),
        }


@cache
def contents_digest(problem: Problem) -> str:
    """Returns a hash of what a question says and of its cases; Python files that judge it are left out."""
    checker = problem.checker
    if checker is not None and checker.kind == "own":
        checker = replace(checker, program="")
    said = replace(problem, name="", title="", judge=None, checker=checker)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


@cache
def adapter_digest(folder: str) -> str:
    """Returns a hash of an adapter's weights. UserError: `folder` is no PEFT folder."""
    try:
        with (Path(folder) / "adapter_model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:24]
    except OSError:
        raise UserError(
            f"lora.init={folder} has no adapter_model.safetensors; name a folder of `ttsd warm-up` or `ttsd export`"
        ) from None


def binding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a resumed run must keep, by their place, as in `lora.lr`."""
    return {place: value for place, value in flat(config).items() if place not in FREE_SETTINGS}


def wants_more(row: Mapping[str, Any], attempts: int, config: Config) -> bool:
    """Tells whether a run that ended has more to do under these settings: its budget has grown."""
    if attempts >= config.budget.attempts:
        return False
    ended = row["ended"]
    if ended not in ("tokens", "seconds", "dollars"):
        return True
    before, now = row["config"]["budget"][ended], getattr(config.budget, ended)
    return now is None or (before is not None and now > before)
