"""The nouns of a run: prompt, completion, verdict, attempt, example, step, history. Frozen, without behaviour.

A run is the list of its attempts, each with the prompt that it answered. `Problem` and `Case` belong to `problems`,
which knows nothing of `ttsd`; they are named here so that one import gives every noun.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from problems.problem import Case as Case
from problems.problem import Problem as Problem
from problems.problem import Split as Split

# Attempt -> the teacher's minus the student's log-probability of each of its tokens, in nats.
TokenAdvantages = Mapping[int, Sequence[float]]


class Status(StrEnum):
    """Names what the judge says of an attempt.

    `UNFINISHED` is a final answer that is not worked out. An `ABORTED` attempt was requested and counts, but its answer
    was not needed any more.
    """

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    NO_PROGRAM = "no_program"
    UNFINISHED = "unfinished"
    TRUNCATED = "truncated"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Holds what a model is given to read: one user turn, as text and as token ids of the whole chat.

    `row` names the row of the table of methods that made it ("question", "feedback", ...), or "teacher". `shows` has
    the numbers of the earlier attempts whose feedback or program stands in it.
    """

    token_ids: tuple[int, ...]
    text: str = ""
    row: str = "question"
    shows: tuple[int, ...] = ()

    @property
    def hash(self) -> str:
        """Returns the name under which the run database keeps this prompt."""
        facts = f"{self.row} {self.shows} {self.text}\0".encode("utf-8", "surrogatepass")
        return hashlib.sha256(facts + array("i", self.token_ids).tobytes()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Charge:
    """Counts what an endpoint charged for one answer."""

    prompt_tokens: int
    completion_tokens: int
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """Holds the tokens that a sampler returned for one prompt.

    `token_ids` contains the end-of-turn token where one was sampled; `logprobs` are the sampler's natural
    log-probabilities of exactly these tokens, one each. An endpoint returns a `charge` and no `token_ids`, and
    `logprobs` only where it has them.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length", "abort"]
    adapter_version: int = 0
    seconds: float = 0.0
    charge: Charge | None = None

    @property
    def tokens(self) -> int:
        """Counts the sampled tokens."""
        return len(self.token_ids) if self.charge is None else self.charge.completion_tokens


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Tells how one case of one program ended.

    `actual` is what it printed or returned, `error` the traceback of its own lines. `score` is 0 to 1, in between only
    where a checker says so, and `message` is what a checker said.
    """

    index: int
    status: Status
    actual: str = ""
    error: str = ""
    cpu_seconds: float = 0.0
    message: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Holds the judge's result for one program.

    Counts cover the cases that were run; judging stops when the rest can't matter. `first_failure` is the index in the
    problem's own case order, hidden cases included. `feedback` describes visible cases only and is empty for an
    accepted attempt. `score` is that of a judge or checker of the user's own, or the share of the points that the
    visible cases earned; None where cases count alike.
    """

    status: Status
    visible_passed: int
    visible_total: int
    hidden_passed: int
    hidden_total: int
    first_failure: int | None = None
    feedback: str = ""
    cpu_seconds: float = 0.0
    score: float | None = None

    @property
    def visible_accepted(self) -> bool:
        """Tells whether every visible case passed."""
        return self.visible_total > 0 and self.visible_passed == self.visible_total

    @property
    def accepted(self) -> bool:
        """Tells whether this is a discovery: every visible and every hidden case passed."""
        return self.status is Status.ACCEPTED

    @property
    def visible_fraction(self) -> float:
        """Returns the share passed, 0 to 1: the score where there is one, else the share of the visible cases.

        This is the one definition; the run database stores it with each attempt.
        """
        if self.score is not None:
            return min(max(self.score, 0.0), 1.0)
        return self.visible_passed / self.visible_total if self.visible_total else 0.0


@dataclass(frozen=True, slots=True)
class Hint:
    """Holds what a stronger model said of a failed attempt, and what that took: `tokens` of its prompt and answer."""

    text: str
    tokens: int
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One requested completion with its verdict. `number` counts from 1 within the run, in the order of request.

    Attempts of the same `round` (from 1 within the run) were requested together, when the verdicts of all earlier
    rounds were known. `hint` is for the self-teacher; None: nobody was asked for one.
    """

    number: int
    step: int
    round: int
    prompt: Prompt
    completion: Completion
    program: str | None
    verdict: Verdict
    judge_seconds: float = 0.0
    hint: Hint | None = None

    @property
    def answered(self) -> bool:
        """Tells whether the completion came to its end and was judged."""
        return self.verdict.status is not Status.ABORTED

    @property
    def prompt_tokens(self) -> int:
        """Counts the prompt's tokens; an aborted attempt is charged none."""
        if self.completion.charge is not None:
            return self.completion.charge.prompt_tokens
        return len(self.prompt.token_ids) if self.answered else 0

    @property
    def tokens(self) -> int:
        """Counts what budgets count: tokens of prompt and completion, and those that its hint took."""
        return self.prompt_tokens + self.completion.tokens + (self.hint.tokens if self.hint else 0)

    @property
    def dollars(self) -> float:
        """Returns what endpoints charged for the completion and for its hint."""
        charges = (self.completion.charge, self.hint)
        return sum(one.dollars for one in charges if one is not None)


@dataclass(frozen=True, slots=True)
class Example:
    """What the weights learn from one attempt: at the prompt that it answered, the student's own tokens.

    `teacher` is what the self-teacher reads when it scores these tokens again; None: the example is not distilled.
    `reward` is for the policy gradient; None: rewards don't count. It is compared with those of the same `parent`.
    `sampler_logprobs` are (tokens,), in nats.
    """

    attempt: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    teacher: Prompt | None = None
    reward: float | None = None
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One complete step: its attempts in order, the examples learned from, metrics, and seconds of each phase."""

    number: int
    attempts: tuple[Attempt, ...]
    adapter_version: int
    examples: tuple[Example, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def discovery(self) -> Attempt | None:
        """Returns the discovery with the lowest number, as if the attempts had been sampled one by one."""
        return next((attempt for attempt in self.attempts if attempt.verdict.accepted), None)


@dataclass(frozen=True, slots=True)
class History:
    """The attempts of a run so far, in order: all that prompts and examples depend on.

    `returns` has the steps that set the weights back, each with the step after which they were as then; 0: the base's.
    """

    attempts: tuple[Attempt, ...] = ()
    returns: Mapping[int, int] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Returns the number of the last step."""
        return self.attempts[-1].step if self.attempts else 0

    @property
    def current(self) -> tuple[Attempt, ...]:
        """Returns the attempts that the present weights were learned from."""
        learned, step = set[int](), self.steps
        while step:
            if step not in self.returns:
                learned.add(step)
            step = self.returns.get(step, step - 1)
        return tuple(attempt for attempt in self.attempts if attempt.step in learned)

    def extended(self, attempts: Sequence[Attempt]) -> History:
        """Returns this history with `attempts` after it."""
        return History((*self.attempts, *attempts), self.returns)
