"""A whole step, generation and judging included, against TRL's experimental SDPOTrainer with its own generation.

    python -m tests.bench.bench_whole_step --trl PYTHON [--rounds 3] [--steps 8] [--skip 2] [--group 16] [--tokens 192]
        [--model FOLDER]

Both sides run the bundled model in float32, or the real one that is named: in bfloat16 with checkpointed gradients.
LoRA of rank 16 on all linear layers, reverse KL on the top 20 and a tail, EMA teacher. Ours is `ttsd solve` with the
`transformers` sampler on a question that is beyond the bundled model, real sandbox and one feedback for each attempt.
TRL's reward is a constant, so it judges nothing, and its teacher reads one feedback for the whole group. Wall seconds
per step and per 1,000 sampled tokens, each side with the threads it takes by itself, and the memory of the largest
process; medians, the first `--skip` steps left out; the sides alternate.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTION, RANK = "micro:mixed:8:3", 16
PAPERS_WAY = {  # what TRL's trainer does: a group is sampled from the question, and then learned from
    "method": "sdpo",
    "extensions.feedback_items": 1,
    "extensions.return_to_best": "false",
    "lora.rank": RANK,
}
FEEDBACK = "Wrong Answer\nInput:\nred\n7\nOutput:\n21\nExpected:\n14\n\nWrong Answer\nInput:\nblue\n4\nOutput:\n8\nExpected:\n5"  # fmt: skip  # noqa: E501


@dataclass(frozen=True, slots=True)
class Side:
    """Steps of one round: seconds and sampled tokens of each, and the peak in bytes."""

    seconds: list[float]
    tokens: list[float]
    peak: float

    def figures(self, skip: int) -> tuple[float, float, float]:
        """Seconds a step, seconds a thousand tokens, GiB."""
        seconds, tokens = self.seconds[skip:], self.tokens[skip:]
        return statistics.median(seconds), 1000 * sum(seconds) / sum(tokens), self.peak / 2**30


def run(command: Sequence[str], ends: Sequence[int] = (0,)) -> tuple[str, float]:
    """What a command writes, and the peak in bytes of the largest process in it."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=output, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        for stream in (output, errors):
            stream.seek(0)
        if child.returncode not in ends:
            raise SystemExit(errors.read())
        return output.read(), 1024.0 * used.ru_maxrss


def ours(given: argparse.Namespace) -> Side:
    from tests.commands import rows
    from ttsd.record.store import Store

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ttsd.sqlite"
        settings = {
            "store.path": path,
            "model.sampler": "transformers",
            "sampling.group_size": given.group,
            "sampling.max_tokens": given.tokens,
            **PAPERS_WAY,
            "budget.attempts": given.group * given.steps,
            "budget.continue_after_discovery": "true",
            **({"model.path": given.model} if given.model else {}),
        }
        chosen = itertools.chain.from_iterable(("--set", f"{name}={value}") for name, value in settings.items())
        config = ("--config", given.config) if given.config else ()
        _, peak = run([sys.executable, "-m", "ttsd", "solve", QUESTION, *config, *chosen], ends=(0, 1))
        with Store(path) as store:
            steps = [row["seconds"]["group"] + row["seconds"]["step"] for row in store.steps(1)]
        ((tokens,),) = rows(path, "select sum(completion_tokens) from attempts")
    return Side(steps, [int(str(tokens)) / len(steps)] * len(steps), peak)


def theirs(model: Path, question: str, steps: int, group: int, tokens: int, real: bool) -> dict[str, list[float]]:
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
            output_dir=folder, per_device_train_batch_size=group, num_generations=group, steps_per_generation=1,
            max_steps=steps, max_completion_length=tokens, learning_rate=3e-3, lr_scheduler_type="constant",
            distillation_mode="topk_logits", distillation_topk=20, distillation_add_tail=True, distillation_alpha=1.0,
            teacher_model_kind="ema", teacher_update_rate=0.05, include_environment_feedback=True, bf16=False,
            reprompt_template="{prompt}{feedback}\n\nCorrectly solve the original question.",
            feedback_template="\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}",
            report_to="none", save_strategy="no", use_cpu=True, logging_steps=1, disable_tqdm=True,
            gradient_checkpointing=real, model_init_kwargs={"dtype": "bfloat16" if real else "float32"},
        )  # fmt: skip
        trainer = SDPOTrainer(
            model=str(model), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=settings,
            train_dataset=Dataset.from_list([row] * group), processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", lora_dropout=0.0),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    name = "completions/mean_length"
    lengths = [note[name] for note in trainer.state.log_history if name in note]
    return {
        "seconds": [after - before for before, after in itertools.pairwise(ends)],
        "tokens": [group * length for length in lengths[1:]],
    }


def main(arguments: Sequence[str]) -> None:
    import problems
    from ttsd.backbone import resolve
    from ttsd.prompts import question_text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", required=True, help="interpreter of an environment with trl")
    for name, value in {"rounds": 3, "steps": 8, "skip": 2, "group": 16, "tokens": 192}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", help="a folder with a real model; default: the bundled one")
    parser.add_argument("--config", help="the configuration that ours runs with")
    given = parser.parse_args(arguments)
    question = question_text(problems.load(QUESTION))
    sizes = [str(given.steps), str(given.group), str(given.tokens), "real" if given.model else ""]
    child = [given.trl, __file__, "--child", given.model or resolve("micro"), question, *sizes]
    taken: dict[str, list[tuple[float, float, float]]] = {"ttsd": [], "trl": []}
    for _ in range(given.rounds):
        taken["ttsd"].append(ours(given).figures(given.skip))
        written, peak = run(child)
        taken["trl"].append(Side(**json.loads(written.splitlines()[-1]), peak=peak).figures(given.skip - 1))
        for kind, rounds in taken.items():
            print(f"{kind:>5}: {rounds[-1][0]:.2f} s a step, {rounds[-1][1]:.2f} s a thousand tokens, {rounds[-1][2]:.2f} GiB", flush=True)  # fmt: skip  # noqa: E501
    for at, what in enumerate(("seconds a step", "seconds a thousand tokens", "peak memory")):
        ratios = [theirs[at] / ours[at] for ours, theirs in zip(taken["ttsd"], taken["trl"], strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{what}: TRL takes {statistics.median(ratios):.2f} times as much ({span})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        model, question, steps, group, tokens, real = sys.argv[2:]
        print(json.dumps(theirs(Path(model), question, int(steps), int(group), int(tokens), bool(real))))
    else:
        main(sys.argv[1:])
