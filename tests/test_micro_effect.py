"""The causal check: four steps with the tests' feedback make the right program likelier; four steps without do not.

The bundled model, the transformers sampler, the real sandbox and judge, and fixed tuning questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pytest

from problems import load
from problems.micro import named, program, subset
from sandbox import Sandbox
from tools.micro.corpus import answer
from ttsd.config import Config, load_config
from ttsd.judging.judge import Judge
from ttsd.judging.sandbox_settings import limits_of, open_sandbox
from ttsd.loop import Method, learn
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Attempt, Example, History, Prompt
from ttsd.prompts import PromptWriter, context_text, question_text
from ttsd.record.run import Run
from ttsd.running.engine import Engine, LoraPolicy, load_tokenizer, open_engine
from ttsd.running.shared_time import Spending

STEPS, GROUP = 4, 16
QUESTIONS = subset("micro-tuning-hard")[1::3]  # one of each family, and one more


@dataclass(frozen=True, slots=True)
class Silent:
    """The same examples, with a teacher's prompt that has no feedback."""

    method: MethodOnQuestion
    teacher: Prompt

    def prompts(self, count: int, history: History) -> Sequence[Prompt]:
        return self.method.prompts(count, history)

    def examples(self, group: Sequence[Attempt], history: History) -> Sequence[Example]:
        return [replace(example, teacher=self.teacher) for example in self.method.examples(group, history)]


@pytest.mark.slow
async def test_the_tests_feedback_makes_the_right_program_likelier() -> None:
    settings = ["model.sampler=transformers", f"sampling.group_size={GROUP}", f"budget.attempts={STEPS * GROUP}"]
    config = load_config("micro", [*settings, "budget.continue_after_discovery=true", "method=sdpo"])
    async with open_sandbox(config) as sandbox, open_engine(config, load_tokenizer(config)) as engine:
        with_feedback = [await gain(engine, sandbox, config, question, silent=False) for question in QUESTIONS]
        without = [await gain(engine, sandbox, config, question, silent=True) for question in QUESTIONS]
    assert len(QUESTIONS) >= 4
    assert fmean(with_feedback) >= 0.5, with_feedback
    assert fmean(without) <= 0.15, without


async def gain(engine: Engine, sandbox: Sandbox, config: Config, question: str, *, silent: bool) -> float:
    """Returns by how much log p(right program) grows, in nats, over STEPS steps."""
    run, tokenizer, trainer = Run(load(question), config), engine.tokenizer, engine.trainer
    assert trainer is not None
    asked = question_text(run.problem)
    right = (*tokenizer.encode(answer(program(named(question.removeprefix("micro:"))))), *tokenizer.stop_token_ids[:1])
    policy = LoraPolicy(engine, f"effect-{silent}", Spending(), 0, engine.scratch)
    await policy.begin()
    before = sum(trainer.logprobs(f"effect-{silent}", tokenizer.chat(asked), right))
    method = MethodOnQuestion(METHODS["sdpo"], PromptWriter(run.problem, tokenizer, config))
    nothing = Prompt(tokenizer.chat(context_text(asked)))
    learned: Method = Silent(method, nothing) if silent else method
    judge = Judge(sandbox, run.problem, run.split, limits=limits_of(config))
    async for _ in learn(policy, judge, learned, run.method.rules(config)):
        pass
    after = sum(trainer.logprobs(f"effect-{silent}", tokenizer.chat(asked), right))
    await policy.close()
    return after - before
