"""What a probe says before money is spent: whether feedback helps this model, in which form, and what to do then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from ttsd.config import Config
from ttsd.running.hardness import Measured, short
from ttsd.running.self_teacher import FEEDBACK, FORMS, Form
from ttsd.statistics import LEVEL, Array, Interval

STUDENT = "none"
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
# Where feedback does not help, attempts read the question alone and what passed is the signal: partial passes as
# rewards, and GRPO's weight for weak models.
WITHOUT_FEEDBACK: Mapping[str, Mapping[str, Any]] = {
    "sampling": {"teacher_fraction": 0.0},
    "distillation": {"grpo_weight": 0.9},
    "reprompt": {"reward": "visible-fraction"},
}


@dataclass(frozen=True, slots=True)
class Share:
    """A mean over questions with its 90 % interval."""

    value: float
    interval: Interval

    @property
    def above_zero(self) -> bool:
        return self.interval.low > 0

    @property
    def below_zero(self) -> bool:
        return self.interval.high < 0

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.interval.low:.3f} to {self.interval.high:.3f})"


def share(groups: Sequence[Sequence[float]]) -> Share:
    """The mean over questions of each question's mean."""
    return _share(*_moments(groups), bounds=(0.0, 1.0))


def difference(mine: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Share:
    """Mine less theirs, question by question; both were drawn independently."""
    mean, variance = _moments(mine)
    their_mean, their_variance = _moments(theirs)
    return _share(mean - their_mean, variance + their_variance, bounds=(-1.0, 1.0))


def _moments(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean over questions, and the variance of that mean. One pseudo-attempt keeps a sure thing from looking sure."""
    arrays: list[Array] = [np.asarray(group, dtype=float) for group in groups]
    spread = [max(float(one.var()), 0.25 / (len(one) + 1)) / len(one) for one in arrays]
    return fmean(float(one.mean()) for one in arrays), sum(spread) / len(arrays) ** 2


def _share(mean: float, variance: float, bounds: tuple[float, float]) -> Share:
    half = _Z * variance**0.5
    return Share(mean, Interval(max(mean - half, bounds[0]), min(mean + half, bounds[1])))


@dataclass(frozen=True, slots=True)
class Tried:
    """One form of hindsight over all questions that have it: what is passed, and how much more than without."""

    form: Form
    attempts: int
    accuracy: Share
    visible: Share
    more_accuracy: Share
    more_visible: Share

    @property
    def helps(self) -> bool:
        """More is passed, of accuracy or of visible cases, and the whole interval says so."""
        return (self.more_accuracy.above_zero or self.more_visible.above_zero) and not self.hurts

    @property
    def hurts(self) -> bool:
        return self.more_accuracy.below_zero or self.more_visible.below_zero


def tried(measured: Sequence[Measured]) -> list[Tried]:
    """Every form that has attempts, in the order of `FORMS`."""
    return [_tried(form, having) for form in FORMS if (having := [m for m in measured if form.name in m.teacher])]


def _tried(form: Form, measured: Sequence[Measured]) -> Tried:
    teacher, student = [one.teacher[form.name] for one in measured], [one.student for one in measured]
    return Tried(
        form,
        sum(one.attempts for one in teacher),
        share([one.accepted for one in teacher]),
        share([one.visible for one in teacher]),
        difference([one.accepted for one in teacher], [one.accepted for one in student]),
        difference([one.visible for one in teacher], [one.visible for one in student]),
    )


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row a form, the student's first."""
    if not measured:
        return []
    student = [one.student for one in measured]
    attempts = sum(one.attempts for one in student)
    first = _row(STUDENT, attempts, share([one.accepted for one in student]), share([one.visible for one in student]))
    return [first] + [
        _row(one.form.name, one.attempts, one.accuracy, one.visible, one.more_accuracy, one.more_visible)
        for one in tried(measured)
    ]


def _row(name: str, attempts: int, *shares: Share) -> dict[str, Any]:
    titles = ("accuracy", "visible", "more accuracy", "more visible")
    spans = dict(zip(titles, shares, strict=False))
    return {"hindsight": name, "attempts": attempts} | {
        title: None if title not in spans else [short(v) for v in _values(spans[title])] for title in titles
    }


def _values(one: Share) -> tuple[float, float, float]:
    return one.value, one.interval.low, one.interval.high


def best(found: Sequence[Tried]) -> Tried | None:
    """The form that helps most; None where none does, or where another question's feedback does as well."""
    control = next((one for one in found if one.form.shuffled), None)
    if control is not None and control.helps:
        return None
    helping = [one for one in found if one.helps and not one.form.shuffled]
    return max(helping, key=lambda one: one.more_accuracy.value + one.more_visible.value, default=None)


def advice(measured: Sequence[Measured]) -> str:
    """One sentence."""
    found = tried(measured)
    if not found:
        return "no attempt failed with feedback, so nothing can be said of hindsight"
    chosen, control = best(found), next((one for one in found if one.form.shuffled), None)
    if chosen is not None:
        against = f", {control.visible} with another question's" if control else ""
        return (
            f"feedback helps this model: with {chosen.form.meaning}, it passes {chosen.visible} of the visible cases "
            f"({chosen.more_visible} more than without{against}); use sdpo"
        )
    if control is not None and control.helps:
        return (
            "another question's feedback helps as much as the true one, so it is the second try that helps, not what "
            "the feedback says: learn from what passes (GRPO on the visible fraction, demonstrations)"
        )
    plain = next((one for one in found if one.form is FEEDBACK), found[0])
    hurts = all(one.hurts for one in found if not one.form.shuffled)
    verb = "hurts" if hurts else "adds nothing that shows for"
    return (
        f"feedback {verb} this model ({plain.more_visible} of the visible cases, {plain.more_accuracy} in accuracy): "
        "learn from what passes (GRPO on the visible fraction, demonstrations), or take a larger model"
    )


def proposed(config: Config, measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """The settings that differ from the defaults, with what the probe recommends; sparse, as in a TOML file."""
    chosen = best(tried(measured))
    changes: Mapping[str, Mapping[str, Any]] = WITHOUT_FEEDBACK
    if chosen is not None:  # of plain feedback the defaults have more than the one text that was tried
        changes = {} if chosen.form is FEEDBACK else {"reprompt": chosen.form.settings}
    wanted = config.model_dump()
    for section, settings in changes.items():
        wanted[section] |= settings
    plain = Config().model_dump()
    sparse = {
        section: {name: value for name, value in settings.items() if value != plain[section][name]}
        for section, settings in wanted.items()
        if section != "store"
    }
    return {section: settings for section, settings in sparse.items() if settings}


def write_config(config: Config, measured: Sequence[Measured], out: Path) -> Path:
    """`NAME-config.toml` beside `out`: the configuration that the probe proposes, and why."""
    path = out.with_name(f"{out.name.removesuffix('.toml')}-config.toml")
    lines = ["# By ttsd probe: " + advice(measured) + "."]
    for section, settings in proposed(config, measured).items():
        lines += ["", f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in settings.items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _toml(value: Any) -> str:
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False)
