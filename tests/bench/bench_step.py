"""The learning part of a step against TRL's experimental SDPOTrainer, on one model, one group and one machine.

    python -m tests.bench.bench_step [--trl PYTHON] [--rounds 3] [--steps 12]

PYTHON is the interpreter of an environment with trl, torch, transformers, peft and accelerate. Both sides
learn from the same 16 completions of the same question (TRL's generation is replaced by them): LoRA of rank 16 on all
linear layers, reverse KL on the top 20 and a tail, EMA teacher, a feedback of 100 tokens in the teacher's prompt. TRL
knows one feedback per group, so the first row of ours has that too; the second has 16 different ones of that length,
which is the real case. Ours includes the adapter's hand-over (a PEFT folder in memory-backed storage). Processor
seconds of one thread per step, medians; the sides alternate.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

GROUP, COMPLETION, RANK = 16, 65, 16
QUESTION = "Write f(s): " + "; ".join(f"w{index}: shorten" for index in range(5))
FEEDBACK = "expected og, got do. " * 5
WITH_FEEDBACK = "{prompt}\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}\n\nCorrectly solve the original question.\n"  # fmt: skip  # noqa: E501


def seconds_per_call(call: Callable[[], object], calls: int) -> list[float]:
    taken = []
    for _ in range(calls):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return taken


def ours(model: Path, steps: int) -> dict[str, Any]:
    """Returns seconds per step with one prompt with feedback for all attempts, and with 16."""
    from ttsd.backbone import Tokenizer, generate
    from ttsd.config import Config
    from ttsd.nouns import Example, Prompt
    from ttsd.training.trainer import Trainer

    tokenizer = Tokenizer.load(str(model))
    trainer = Trainer(str(model), Config.model_validate({"lora": {"rank": RANK, "alpha": 2.0 * RANK, "lr": 1e-3}}))
    prompt = tokenizer.chat(QUESTION)
    sampled = generate(trainer.base, None, [prompt] * GROUP, max_tokens=COMPLETION, seed=0)
    (model / "completions.json").write_text(json.dumps([ids for ids, _, _ in sampled]))
    shared = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    found: dict[str, Any] = {}
    for kind in ("one prompt", "16 prompts"):
        examples = [
            Example(
                at + 1, prompt, ids, logprobs, Prompt(tokenizer.chat(with_feedback(at if kind == "16 prompts" else 0)))
            )
            for at, (ids, logprobs, _) in enumerate(sampled)
        ]
        trainer.create(kind, seed=0)
        with tempfile.TemporaryDirectory(dir=shared) as folder:

            def step(name: str = kind, examples: list[Example] = examples, folder: str = folder) -> None:
                trainer.step(name, examples)
                trainer.export(name, Path(folder) / "adapter")

            found[kind] = seconds_per_call(step, steps)
    return found


def with_feedback(index: int) -> str:
    return WITH_FEEDBACK.format(prompt=QUESTION, feedback=f"{index:02d} {FEEDBACK}")


def theirs(model: Path, steps: int) -> dict[str, Any]:
    """Seconds from the end of one of TRL's steps to the end of the next, and of its compute_loss alone."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl.experimental.sdpo import SDPOConfig, SDPOTrainer  # type: ignore[import-not-found]

    completions: list[list[int]] = json.loads((model / "completions.json").read_text())
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.process_time())

    class Replayed(SDPOTrainer):  # type: ignore[misc]
        def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
            return prompt_ids, completions

    row = {"prompt": [{"role": "user", "content": QUESTION}], "privileged_context": f"00 {FEEDBACK}"}
    with tempfile.TemporaryDirectory() as folder:
        settings = SDPOConfig(
            output_dir=folder, per_device_train_batch_size=GROUP, num_generations=GROUP, steps_per_generation=1,
            max_steps=steps, max_completion_length=COMPLETION, learning_rate=1e-3, lr_scheduler_type="constant",
            distillation_mode="topk_logits", distillation_topk=20, distillation_add_tail=True, distillation_alpha=1.0,
            teacher_model_kind="ema", teacher_update_rate=0.01, include_environment_feedback=True, bf16=False,
            reprompt_template="{prompt}{feedback}\nCorrectly solve the original question.\n",
            feedback_template="\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}\n",
            chat_template_kwargs={"enable_thinking": False}, report_to="none", save_strategy="no", use_cpu=True,
            logging_steps=10**6, disable_tqdm=True, gradient_checkpointing=False,
        )  # fmt: skip
        torch.set_num_threads(1)
        trainer = Replayed(
            model=str(model), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=settings,
            train_dataset=Dataset.from_list([row] * GROUP), processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", lora_dropout=0.0),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return {"trl": [after - before for before, after in itertools.pairwise(ends)]}


def run(interpreter: str, side: str, model: Path, steps: int) -> dict[str, list[float]]:
    call = [interpreter, "-m", "tests.bench.bench_step", "--child", side, str(model), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str]) -> None:
    from tests.tiny import write_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", help="interpreter of an environment with trl; without it only our side runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    chosen = parser.parse_args(arguments)
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), small=False)
        for _ in range(chosen.rounds):
            sides = [(sys.executable, "ours"), *([(chosen.trl, "theirs")] if chosen.trl else [])]
            for interpreter, side in sides:
                for kind, seconds in run(interpreter, side, model, chosen.steps).items():
                    taken.setdefault(kind, []).append(statistics.median(seconds[2:]))
    for kind, medians in taken.items():
        rounds = " ".join(f"{value:.3f}" for value in medians)
        print(f"{kind:>14}: {statistics.median(medians):.3f} s per step (rounds: {rounds})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        side = {"ours": ours, "theirs": theirs}[sys.argv[2]]
        print(json.dumps(side(Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main(sys.argv[1:])
