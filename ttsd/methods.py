"""The methods: two questions make a table. What does an attempt read? What do the weights learn from a group?

| an attempt reads | learns nothing | learns from rewards | learns from the self-teacher |
|---|---|---|---|
| the question | best-of-k | grpo | sdpo |
| the question and feedback on earlier attempts | multi-turn | multi-turn+grpo | multi-turn+sdpo |
| the question, one earlier attempt and its feedback | search | search+grpo | search+sdpo |

Rows don't know columns. Columns don't know rows, but two know siblings: attempts that read the same earlier attempt.
`sdpo` is section 5 of arXiv 2601.20802 on LoRA. Nothing else in `ttsd` compares a method's name. The order is the one
in which methods are listed and compared.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.examples import rewards, self_teacher, sibling_rewards, sibling_teacher
from ttsd.loop import Rules
from ttsd.nouns import Attempt, Example, History, Prompt
from ttsd.prompts import SIBLINGS, PromptWriter, feedback, question, search


@dataclass(frozen=True, slots=True)
class Row:
    """What an attempt reads. `waits`: its prompts depend on the verdicts of earlier attempts.

    `together`: the attempts of one choice of a prompt, which are sampled together.
    """

    reads: str
    prompts: Callable[[PromptWriter, int, History], Sequence[Prompt]]
    waits: bool
    together: int = 1


@dataclass(frozen=True, slots=True)
class Column:
    """What the weights learn from a finished group; `examples` None: nothing. `teaches`: the self-teacher scores."""

    learns: str
    examples: Callable[[PromptWriter, Sequence[Attempt], History], Sequence[Example]] | None = None
    teaches: bool = False


ROUND_GROWTH = 0.25  # a learning conversation samples this share of the verdicts known together

QUESTION = Row("the question", question, waits=False)
FEEDBACK = Row("the question and feedback on earlier attempts", feedback, waits=True)
SEARCH = Row("the question, one earlier attempt and its feedback", search, waits=True, together=SIBLINGS)
NOTHING = Column("nothing")
REWARDS = Column("rewards", rewards)
SIBLING_REWARDS = Column("rewards", sibling_rewards)
SELF_TEACHER = Column("the self-teacher", self_teacher, teaches=True)
SIBLING_TEACHER = Column("the self-teacher", sibling_teacher, teaches=True)


@dataclass(frozen=True, slots=True)
class Method:
    """One cell of the table. `name` is what it is called in every command, table, legend and run database."""

    name: str
    row: Row
    column: Column

    def __str__(self) -> str:
        return self.name

    @property
    def description(self) -> str:
        """Describes the method in one line."""
        return f"reads {self.row.reads}; learns {'from ' * self.learns}{self.column.learns}"

    @property
    def learns(self) -> bool:
        """Tells whether gradient steps are taken."""
        return self.column.examples is not None

    @property
    def iid(self) -> bool:
        """Tells whether all attempts are independent samples of one policy, so that they give an unbiased pass@k."""
        return not self.learns and not self.row.waits

    def at_once(self, config: Config) -> int:
        """Returns the most attempts that one run samples together."""
        least, most = self.row.together, config.sampling.group_size
        return most if self.learns or not self.row.waits else min(least, most)

    def rules(self, config: Config) -> Rules:
        """Returns how a run of this method proceeds.

        Attempts that read no verdict are sampled a whole group at a time. With a frozen policy a conversation is one
        attempt after the other, as in the paper; a learning one samples rounds that grow with the verdicts known. A
        search does the same with all siblings in place of one attempt.
        """
        growth, together = ROUND_GROWTH if self.learns else 0.0, self.row.together
        return Rules(
            group_size=config.sampling.group_size,
            budget=config.budget.attempts,
            round_size=(lambda known: max(1, int(known * growth) // together) * together) if self.row.waits else None,
            stop_at_discovery=not config.budget.continue_after_discovery,
            guarded=config.extensions.return_to_best and self.learns,
            one_step_off=config.sampling.pipeline == "one-step-off",
        )


@dataclass(frozen=True, slots=True)
class MethodOnQuestion:
    """A method with the writer of one question's prompts: the two pure functions that the loop asks."""

    method: Method
    writer: PromptWriter

    def prompts(self, count: int, history: History) -> Sequence[Prompt]:
        """Returns what the next `count` attempts read."""
        return self.method.row.prompts(self.writer, count, history)

    def examples(self, group: Sequence[Attempt], history: History) -> Sequence[Example]:
        """Returns what the weights learn from a finished group."""
        examples = self.method.column.examples
        return [] if examples is None else examples(self.writer, group, history)


METHODS = {
    method.name: method
    for method in (
        Method("sdpo", QUESTION, SELF_TEACHER),
        Method("multi-turn+sdpo", FEEDBACK, SELF_TEACHER),
        Method("grpo", QUESTION, REWARDS),
        Method("multi-turn+grpo", FEEDBACK, REWARDS),
        Method("search+sdpo", SEARCH, SIBLING_TEACHER),
        Method("search+grpo", SEARCH, SIBLING_REWARDS),
        Method("multi-turn", FEEDBACK, NOTHING),
        Method("search", SEARCH, NOTHING),
        Method("best-of-k", QUESTION, NOTHING),
    )
}


def method_named(name: str) -> Method:
    """Returns the method called `name`. UserError: no method has this name."""
    if name in METHODS:
        return METHODS[name]
    close = difflib.get_close_matches(name, METHODS, n=1)
    guess = f" (did you mean {close[0]!r}?)" if close else ""
    raise UserError(f"there is no method {name!r}{guess}; choose one of {', '.join(METHODS)}")


def methods_named(names: str) -> list[Method]:
    """Returns the methods of a comma-separated list; "all" is the whole table. UserError: a name is unknown."""
    return list(METHODS.values()) if names == "all" else [method_named(name.strip()) for name in names.split(",")]
