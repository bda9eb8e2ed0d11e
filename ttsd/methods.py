"""The methods, in one table: what each one does, which setting makes arms of it, and what it is called.

Another method is another entry here; nothing else in `ttsd` compares a method's name. The order is the one in which
methods are drawn, listed and compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttsd.config import Config
from ttsd.errors import UserError


@dataclass(frozen=True, slots=True)
class Arm:
    """A setting that a method is compared by: a batch has runs with several values of it side by side.

    `label` names a value. `plain` is the value that needs no name.
    """

    section: str
    setting: str
    label: str
    plain: float | None

    def value(self, config: Config) -> float | None:
        found: float | None = getattr(getattr(config, self.section), self.setting)
        return found


@dataclass(frozen=True, slots=True)
class Method:
    """What sets a method apart.

    `learns`: it takes gradient steps. `taught`: a teacher reads hindsight (who learns without one learns from rewards
    alone). `converses`: one attempt a step, which reads the feedback of those before it. `pools`: its attempts are
    independent draws of one policy, so a run spends its whole budget and all of them give an unbiased pass@k.
    """

    name: str
    learns: bool = False
    taught: bool = False
    converses: bool = False
    pools: bool = False
    arm: Arm | None = None

    def label(self, config: Config) -> str:
        """The method's name with its arm, as tables, pages and progress show it."""
        value = None if self.arm is None else self.arm.value(config)
        if self.arm is None or value == self.arm.plain:
            return self.name
        return f"{self.name} ({self.arm.label.format(value)})"


SDPO = Method(
    "sdpo",
    learns=True,
    taught=True,
    arm=Arm("sampling", "teacher_fraction", "teacher draws {:.0%}", plain=0.0),
)
GRPO = Method("grpo", learns=True)
MULTI_TURN = Method("multi-turn", converses=True, arm=Arm("reprompt", "multi_turn_window", "window {}", plain=None))
BEST_OF_K = Method("best-of-k", pools=True)
METHODS = {method.name: method for method in (SDPO, GRPO, MULTI_TURN, BEST_OF_K)}


def kind_of(recorded: str) -> Method:
    """The method of a recorded run; one that is not in the table is the self-teacher of a probe, in some form."""
    return METHODS.get(recorded) or Method(recorded, pools=True)


def method_named(name: str) -> Method:
    """UserError: no method has this name."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]
