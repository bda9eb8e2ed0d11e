"""The policy in training: what moves its weights moves the sampler's too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_model
from ttsd.config import Config
from ttsd.nouns import Lesson
from ttsd.running.engine import LoraPolicy, load_tokenizer, open_engine
from ttsd.running.shared_time import Spending


async def test_a_policy_that_begins_anew_draws_from_the_base_again_and_learns_as_at_first(tmp_path: Path) -> None:
    model = {"path": str(write_model(tmp_path / "model")), "sampler": "transformers", "dtype": "float32"}
    config = Config.model_validate({"model": model, "lora": {"lr": 1e-2}, "sampling": {"max_tokens": 8}})
    async with open_engine(config, load_tokenizer(config)) as engine:
        trainer, prompt = engine.trainer, engine.tokenizer.chat("question")
        assert trainer is not None
        policy = LoraPolicy(engine, "q", Spending(), seed=3)
        await policy.begin()
        reprompt = engine.tokenizer.chat("question, with a hint")

        def likely() -> list[float]:
            return trainer.logprobs("q", prompt, answer.token_ids)

        answer = await policy.sample(prompt)
        lesson = Lesson(1, prompt, answer.token_ids, answer.logprobs, 0.0, reprompt, feedback_used=True)
        base, first = likely(), await policy.distil([lesson])
        taught = likely()
        assert taught != base
        await policy.restart()
        assert likely() == base == trainer.logprobs(None, prompt, answer.token_ids)
        drawn = await policy.sample(prompt)
        assert (policy.adapter_version, drawn.adapter_version) == (2, 2)
        assert list(drawn.logprobs) == pytest.approx(trainer.logprobs(None, prompt, drawn.token_ids), abs=1e-5)
        again = await policy.distil([lesson])
        assert (again["loss"], again["grad_norm"]) == (first["loss"], first["grad_norm"])
        assert likely() == taught
        await policy.close()
