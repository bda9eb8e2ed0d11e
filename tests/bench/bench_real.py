"""A step on a real pretrained model, as shipped against what it was before: float32, one core, groups of 4.

    python -m tests.bench.bench_real --model FOLDER [--question QUESTION] [--rounds 2] [--group 8] [--tokens 300]
        [--group-before 4] [--sampler transformers]

Each round is one `ttsd solve` of a group's attempts with the old settings (in groups of `--group-before`) and one with
the new; what their steps spent is read from the run database. Given are seconds a thousand sampled tokens, sampling
(with judging) and learning apart, and the ratio of the rounds' sums, by the token and by the attempt: completions
differ in length from run to run. Leave the machine idle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.commands import rows, ttsd

SETTINGS = {
    "before": (  # float32, one core, vLLM
        "model.dtype=float32",
        "model.threads=1",
        "model.sampler=vllm",
        "distillation.token_budget=4096",
        "distillation.checkpoint_over=0",
    ),
    "as shipped": (),
}


def group(given: argparse.Namespace, settings: tuple[str, ...]) -> tuple[float, float, int]:
    """Returns seconds of sampling and of learning for `--group` attempts, and the sampled tokens."""
    wanted = (
        f"model.path={Path(given.model).absolute()}",
        f"sampling.group_size={given.group}",
        f"sampling.max_tokens={given.tokens}",
        f"budget.attempts={given.group}",
        "budget.continue_after_discovery=true",
        *settings,
    )
    with tempfile.TemporaryDirectory() as folder:
        options = [part for one in wanted for part in ("--set", one)]
        ended = ttsd("solve", given.question, *options, "--method", "sdpo", cwd=Path(folder))
        assert ended.returncode in (0, 1), ended.stderr
        database = Path(folder) / "ttsd.sqlite"
        spent = [json.loads(str(seconds)) for (seconds,) in rows(database, "select seconds from steps")]
        ((tokens,),) = rows(database, "select sum(completion_tokens) from attempts")
    return sum(one["group"] for one in spent), sum(one["step"] for one in spent), int(str(tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--question", default="micro:numbers:5:7")
    parser.add_argument("--sampler", help="of the new side, if not as shipped")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--group-before", type=int, default=4, help="what the configuration had then")
    parser.add_argument("--tokens", type=int, default=300)
    given = parser.parse_args()
    seconds = dict.fromkeys(SETTINGS, 0.0)
    sums = dict.fromkeys(SETTINGS, (0.0, 0.0))
    for number in range(1, given.rounds + 1):
        for name, settings in SETTINGS.items():
            own = (f"sampling.group_size={given.group_before}",) if settings else ()
            if given.sampler and not settings:
                own = (f"model.sampler={given.sampler}",)
            sampling, learning, tokens = group(given, (*settings, *own))
            seconds[name] += sampling + learning
            sums[name] = (sums[name][0] + 1000 * sampling / tokens, sums[name][1] + 1000 * learning / tokens)
            print(
                f"round {number}, {name}: {tokens} tokens, sampling {sampling:.0f} s, learning {learning:.0f} s",
                flush=True,
            )
    old, new = sums.values()
    for what, before, after in (
        ("sampling", old[0], new[0]),
        ("learning", old[1], new[1]),
        ("both", sum(old), sum(new)),
    ):
        each = f"{before / given.rounds:.1f} -> {after / given.rounds:.1f} s a thousand tokens"
        print(f"{what}: {each}, {before / after:.2f} times")
    before, after = (spent / given.rounds / given.group for spent in seconds.values())
    print(f"an attempt: {before:.1f} -> {after:.1f} s, {before / after:.2f} times")


if __name__ == "__main__":
    main()
