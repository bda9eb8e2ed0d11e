"""A step on a real pretrained model with the shipped configuration, beside what it was: float32 on one core, with vLLM.

    python -m tests.bench.bench_real --model FOLDER [--question QUESTION] [--rounds 2] [--group 8] [--tokens 300]
        [--sampler transformers]

Each round is one `ttsd solve` of one step with the old settings and one with the new; what a step spent is read from
its record. Given are seconds a thousand drawn tokens, drawing (with judging) and learning apart, and the ratio of the
rounds' sums: texts differ in length from run to run, so steps are compared by the token. Leave the machine idle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.commands import rows, ttsd

SETTINGS = {
    "float32, one core, vLLM": (
        "model.dtype=float32",
        "model.threads=1",
        "model.sampler=vllm",
        "distillation.token_budget=4096",
        "distillation.checkpoint_over=0",
    ),
    "as shipped": (),
}


def step(given: argparse.Namespace, settings: tuple[str, ...]) -> tuple[float, float, int]:
    """Seconds of drawing and of learning, and the tokens that were drawn."""
    wanted = (
        f"model.path={Path(given.model).absolute()}",
        f"sampling.group_size={given.group}",
        f"sampling.max_tokens={given.tokens}",
        f"budget.attempts={given.group}",
        "budget.continue_after_discovery=true",
        # One round, as in the paper: what was read would differ from run to run.
        "sampling.teacher_fraction=0",
        "sampling.round_size=none",
        "reprompt.student_reads=question",
        *settings,
    )
    with tempfile.TemporaryDirectory() as folder:
        options = [part for one in wanted for part in ("--set", one)]
        ended = ttsd("solve", given.question, "-c", "qwen2.5-coder-0.5b-cpu", *options, cwd=Path(folder))
        assert ended.returncode in (0, 1), ended.stderr
        database = Path(folder) / "ttsd.sqlite"
        ((seconds,),) = rows(database, "select seconds from steps")
        ((tokens,),) = rows(database, "select sum(completion_tokens) from attempts")
    spent = json.loads(str(seconds))
    return spent["draw"], spent["distil"], int(str(tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--question", default="micro:numbers:5:7")
    parser.add_argument("--sampler", help="of the new side, if not as shipped")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=300)
    given = parser.parse_args()
    sums = dict.fromkeys(SETTINGS, (0.0, 0.0))
    for number in range(1, given.rounds + 1):
        for name, settings in SETTINGS.items():
            asked = (f"model.sampler={given.sampler}",) if given.sampler and not settings else ()
            drawing, learning, tokens = step(given, (*settings, *asked))
            a_thousand = (1000 * drawing / tokens, 1000 * learning / tokens)
            sums[name] = (sums[name][0] + a_thousand[0], sums[name][1] + a_thousand[1])
            print(
                f"round {number}, {name}: {tokens} tokens, drawing {drawing:.0f} s, learning {learning:.0f} s",
                flush=True,
            )
    old, new = sums.values()
    for what, before, after in (
        ("drawing", old[0], new[0]),
        ("learning", old[1], new[1]),
        ("step", sum(old), sum(new)),
    ):
        each = f"{before / given.rounds:.1f} -> {after / given.rounds:.1f} s a thousand tokens"
        print(f"{what}: {each}, {before / after:.2f} times")


if __name__ == "__main__":
    main()
