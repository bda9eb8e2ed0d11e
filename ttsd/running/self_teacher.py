"""The one-turn self-teacher: the frozen model answers a question again, with hindsight on attempts that failed.

Each form of hindsight is a change of `reprompt` settings, so a form that helps can be used in a run as it was probed.
`shuffled` is the control: the feedback that another question's attempts were given. Its attempts are recorded as runs,
whose environment names the attempts that were read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Example, Problem, Reading
from ttsd.prompts import ChatTokenizer
from ttsd.record.protocol import Row
from ttsd.record.resume import Job
from ttsd.running.readings import teaching

DIAGNOSIS_TEMPLATE = (
    "{prompt}{solution}{feedback}\n\n"
    "First say in one sentence what was wrong. Then correctly solve the original question."
)

EXAMPLES_TEMPLATE = "\n\nMore examples:\n\n{feedback_raw}"


@dataclass(frozen=True, slots=True)
class Form:
    """A form of hindsight: what the self-teacher reads. `settings` are those of the section `reprompt`."""

    name: str
    meaning: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shuffled: bool = False

    def configured(self, config: Config, attempts: int) -> Config:
        """`config` for a run of `attempts` attempts in this form; all of them are drawn."""
        budget = config.budget.model_copy(update={"attempts": attempts, "continue_after_discovery": True})
        reprompt = config.reprompt.model_copy(update=dict(self.settings))
        return config.model_copy(update={"budget": budget, "reprompt": reprompt})

    def job(self, question: str) -> Job:
        return Job(question, f"self-teacher ({self.name})", 0)


ONE_TEXT = {"feedback_blocks": 1}
FEEDBACK = Form("feedback", "the feedback on one failed attempt, as in the paper", ONE_TEXT)
SHUFFLED = Form("shuffled", "the control: feedback on another question's attempt", ONE_TEXT, shuffled=True)
FORMS = (
    FEEDBACK,
    SHUFFLED,
    Form("several", "feedback on up to four failed attempts", {"feedback_blocks": 4}),
    Form("attempt", "a failed attempt above its feedback", ONE_TEXT | {"feedback_shows_attempt": True}),
    Form(
        "examples",
        "the failing cases of up to four failed attempts, restated as examples",
        {"feedback_blocks": 4, "feedback_restates_cases": True, "feedback_template": EXAMPLES_TEMPLATE},
    ),
    Form(
        "diagnosis",
        "the feedback on one failed attempt and the demand for a diagnosis in one sentence before the program",
        ONE_TEXT | {"reprompt_template": DIAGNOSIS_TEMPLATE},
    ),
)


def form_named(name: str) -> Form:
    """UserError: no form has this name."""
    forms = {form.name: form for form in FORMS}
    if name not in forms:
        raise UserError(f"unknown form of hindsight {name!r}; choose from {', '.join(forms)}, or all")
    return forms[name]


@dataclass(frozen=True, slots=True)
class FeedbackOf:
    """Whose feedback a self-teacher reads: failed attempts of a run, by number."""

    run: int
    attempts: tuple[int, ...]

    @property
    def note(self) -> dict[str, Any]:
        """What the environment of the self-teacher's run says of it."""
        return {"feedback_of": {"run": self.run, "attempts": list(self.attempts)}}

    @classmethod
    def recorded(cls, row: Row) -> FeedbackOf:
        """The one that a self-teacher's run was started with."""
        kept = row["environment"]["feedback_of"]
        return cls(kept["run"], tuple(kept["attempts"]))


class SelfTeacher:
    """A `Teaching` whose attempts read one reprompt after the other, again from the first; it teaches nothing."""

    def __init__(self, reprompts: Sequence[tuple[int, ...]], source: FeedbackOf) -> None:
        self._reprompts = reprompts
        self.source = source

    def reading(self, attempt: int) -> Reading:
        return Reading(self._reprompts[(attempt - 1) % len(self._reprompts)], "teacher")

    def readings(self, size: int, known: Sequence[Attempt]) -> list[Reading]:
        return [self.reading(len(known) + number) for number in range(1, size + 1)]

    def lessons(self, rollouts: Sequence[Attempt], readings: Mapping[int, Reading]) -> list[Example]:
        return []

    def remember(self, rollouts: Sequence[Attempt]) -> None: ...

    def discard(self) -> None: ...


def self_teacher(
    problem: Problem, tokenizer: ChatTokenizer, config: Config, source: FeedbackOf, rollouts: Sequence[Attempt]
) -> SelfTeacher:
    """The self-teacher of `problem` that reads the chosen ones of `rollouts`, those of the source's run."""
    chosen = [rollout for rollout in rollouts if rollout.attempt in set(source.attempts)]
    lessons = teaching(problem, tokenizer, config, taught=False).lessons(chosen)
    reprompts = list(dict.fromkeys(lesson.reprompt_ids for lesson in lessons if lesson.reprompt_ids))
    return SelfTeacher(reprompts, source)
