"""The causal check: four steps on what the tests said make the right program likelier; four steps on nothing do not.

The bundled model, the transformers sampler, the real sandbox and judge, and fixed tuning questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pytest

from problems import load
from problems.micro import named, program, subset
from sandbox import Sandbox
from ttsd.config import Config, load_config
from ttsd.judging.judge import Judge
from ttsd.judging.sandbox_settings import limits_of, open_sandbox
from ttsd.loop import learn
from tools.micro.corpus import answer
from ttsd.nouns import Attempt, Example, Reading
from ttsd.prompts import student_prompt, teacher_prompt
from ttsd.reprompts import Reprompts
from ttsd.running.engine import Engine, LoraPolicy, load_tokenizer, open_engine
from ttsd.running.readings import teaching
from ttsd.running.run import divided
from ttsd.running.shared_time import Spending

STEPS, GROUP = 4, 16
QUESTIONS = subset("micro-tuning-hard")[1::3]  # one of each family, and one more


@dataclass(frozen=True, slots=True)
class Silent:
    """The same lessons, from a teacher's prompt that has nothing to tell."""

    told: Reprompts
    reprompt_ids: tuple[int, ...]

    def readings(self, size: int, known: Sequence[Attempt]) -> list[Reading]:
        return self.told.readings(size, known)

    def lessons(self, rollouts: Sequence[Attempt], readings: Mapping[int, Reading]) -> list[Example]:
        return [replace(lesson, reprompt_ids=self.reprompt_ids) for lesson in self.told.lessons(rollouts, readings)]

    def remember(self, rollouts: Sequence[Attempt]) -> None:
        self.told.remember(rollouts)

    def discard(self) -> None:
        self.told.discard()


@pytest.mark.slow
async def test_what_the_tests_say_makes_the_right_program_likelier() -> None:
    config = load_config("micro-paper", ["model.sampler=transformers", f"sampling.group_size={GROUP}"])
    async with open_sandbox(config) as sandbox, open_engine(config, load_tokenizer(config)) as engine:
        told = [await gain(engine, sandbox, config, question, silent=False) for question in QUESTIONS]
        untold = [await gain(engine, sandbox, config, question, silent=True) for question in QUESTIONS]
    assert len(QUESTIONS) >= 4
    assert fmean(told) >= 0.5, told
    assert fmean(untold) <= 0.15, untold


async def gain(engine: Engine, sandbox: Sandbox, config: Config, question: str, *, silent: bool) -> float:
    """Growth of log p(right program), in nats, over STEPS steps."""
    problem, tokenizer, trainer = load(question), engine.tokenizer, engine.trainer
    assert trainer is not None
    told = teaching(problem, tokenizer, config)
    asked = student_prompt(problem)
    right = (*tokenizer.encode(answer(program(named(question.removeprefix("micro:"))))), *tokenizer.stop_token_ids[:1])
    policy = LoraPolicy(engine, f"effect-{silent}", Spending(), seed=0)
    await policy.begin()
    before = sum(trainer.logprobs(f"effect-{silent}", tokenizer.chat(asked), right))
    events = learn(
        policy,
        Judge(sandbox, problem, divided(problem, config), limits=limits_of(config)),
        Silent(told, tokenizer.chat(teacher_prompt(asked))) if silent else told,
        group_size=GROUP,
        budget=STEPS * GROUP,
        continue_after_discovery=True,
    )
    async for _ in events:
        pass
    after = sum(trainer.logprobs(f"effect-{silent}", tokenizer.chat(asked), right))
    await policy.close()
    return after - before
