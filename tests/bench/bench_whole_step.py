"""A whole step, generation and judging included, beside TRL's experimental SDPOTrainer with its own generation.

    python -m tests.bench.bench_whole_step --trl PYTHON [--rounds 3] [--steps 8]

Both sides run on the bundled model in float32, a group of 16, at most 192 tokens, LoRA of rank 16 on all linear
layers, reverse KL on the top 20 and a tail, EMA teacher. Ours is `ttsd solve` with the `transformers` sampler on a
question that is beyond the model, real sandbox and one reprompt for each attempt. TRL's reward is a constant, so it
judges nothing, and its teacher reads one feedback for the whole group. Wall seconds per step, each side with the
threads it takes by itself; medians; the sides alternate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTION, GROUP, TOKENS, RANK = "micro:mixed:8:3", 16, 192, 16
FEEDBACK = "Wrong Answer\nInput:\nred\n7\nOutput:\n21\nExpected:\n14\n\nWrong Answer\nInput:\nblue\n4\nOutput:\n8\nExpected:\n5"  # fmt: skip  # noqa: E501


def ours(steps: int) -> list[float]:
    from ttsd.running.store import Store

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ttsd.sqlite"
        settings = {
            "store.path": path,
            "model.sampler": "transformers",
            "sampling.group_size": GROUP,
            "reprompt.feedback_blocks": 1,
            "budget.attempts": GROUP * steps,
            "budget.continue_after_discovery": "true",
        }
        chosen = itertools.chain.from_iterable(("--set", f"{name}={value}") for name, value in settings.items())
        command = [sys.executable, "-m", "ttsd", "solve", QUESTION, *chosen]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        with Store(path) as store:
            return [row["seconds"]["draw"] + row["seconds"]["distil"] for row in store.steps(1)]


def theirs(model: Path, question: str, steps: int) -> list[float]:
    """Runs in an environment that has trl and knows nothing of ttsd."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl.experimental.sdpo import SDPOConfig, SDPOTrainer  # type: ignore[import-not-found]

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.monotonic())

    row = {"prompt": [{"role": "user", "content": question}], "privileged_context": FEEDBACK}
    with tempfile.TemporaryDirectory() as folder:
        settings = SDPOConfig(
            output_dir=folder, per_device_train_batch_size=GROUP, num_generations=GROUP, steps_per_generation=1,
            max_steps=steps, max_completion_length=TOKENS, learning_rate=3e-3, lr_scheduler_type="constant",
            distillation_mode="topk_logits", distillation_topk=20, distillation_add_tail=True, distillation_alpha=1.0,
            teacher_model_kind="ema", teacher_update_rate=0.05, include_environment_feedback=True, bf16=False,
            reprompt_template="{prompt}{feedback}\n\nCorrectly solve the original question.",
            feedback_template="\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}",
            report_to="none", save_strategy="no", use_cpu=True, logging_steps=10**6, disable_tqdm=True,
            gradient_checkpointing=False, model_init_kwargs={"dtype": "float32"},
        )  # fmt: skip
        trainer = SDPOTrainer(
            model=str(model), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=settings,
            train_dataset=Dataset.from_list([row] * GROUP), processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", lora_dropout=0.0),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return [after - before for before, after in itertools.pairwise(ends)]


def main(arguments: Sequence[str]) -> None:
    import problems
    from ttsd.backbone import resolve
    from ttsd.prompts import student_prompt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", required=True, help="interpreter of an environment with trl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    chosen = parser.parse_args(arguments)
    child = [chosen.trl, __file__, "--child", resolve("micro"), student_prompt(problems.load(QUESTION))]
    taken: dict[str, list[float]] = {"ttsd": [], "trl": []}
    for _ in range(chosen.rounds):
        taken["ttsd"].append(statistics.median(ours(chosen.steps)[2:]))
        done = subprocess.run([*child, str(chosen.steps)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        taken["trl"].append(statistics.median(json.loads(done.stdout.splitlines()[-1])[2:]))
    for kind, medians in taken.items():
        rounds = " ".join(f"{value:.2f}" for value in medians)
        print(f"{kind:>5}: {statistics.median(medians):.2f} s per step (rounds: {rounds})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(theirs(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
    else:
        main(sys.argv[1:])
