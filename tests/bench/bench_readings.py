"""What a reading is worth: the bundled model's exact chance of the right program, by which feedback texts it reads.

The texts are those of recorded runs on the bundled suite; the newest ends the prompt, a rule chooses the others:

    python -m tests.bench.bench_readings RECORD.sqlite --known 24,64,128
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import problems.micro
from problems.micro import load, named, program
from tools.micro.evaluation import log_p
from tools.micro.model import load as load_model
from ttsd.methods import SDPO
from ttsd.prompts import student_prompt, teacher_prompt
from ttsd.record.store import Store

NEWEST = 3  # texts that end a prompt, one each, as in a round of three attempts

CASE = re.compile(
    r"^Input:\n(.*?)(?:\nOutput:\n.*?\nExpected:\n(.*?))?(?=\n\nWrong Answer\n|\Z)", re.DOTALL | re.MULTILINE
)


def told(text: str) -> frozenset[str]:
    """What feedback says of the question: the cases it names, and what is right on them."""
    cases = CASE.findall(text)
    return frozenset(case for case, _ in cases) | {f"{case}\n{right}" for case, right in cases if right}


def lines(text: str) -> frozenset[str]:
    return frozenset(text.splitlines())


def chosen(
    texts: Sequence[str], own: str, most: int, says: Callable[[str], frozenset[str]], *, fill: bool
) -> list[str]:
    """`own` last, before it of `texts` (the newest first) those of which `says` has most that is new.

    With `fill` the newest follow where nothing is new; without, the reading is shorter.
    """
    read, known, left = [own], says(own), [text for text in texts if text != own]
    while len(read) < most and left:
        best = max(left, key=lambda text: len(says(text) - known))
        if says(best) <= known and not fill:
            break
        left.remove(best)
        read.append(best)
        known |= says(best)
    return read[::-1]


RULES: dict[str, Callable[[Sequence[str], str, Sequence[str]], list[str]]] = {
    "the last 8": lambda _, own, history: [text for text in history[-8:] if text],
    "6 with most new lines": lambda texts, own, _: chosen(texts, own, 6, lines, fill=False),
    "8 with most new lines": lambda texts, own, _: chosen(texts, own, 8, lines, fill=False),
    "6 new on the question": lambda texts, own, _: chosen(texts, own, 6, told, fill=False),
    "8 new on the question": lambda texts, own, _: chosen(texts, own, 8, told, fill=False),
    "6 new on the question, then the newest": lambda texts, own, _: chosen(texts, own, 6, told, fill=True),
    "8 new on the question, then the newest": lambda texts, own, _: chosen(texts, own, 8, told, fill=True),
}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--known", default="24,64,128", help="attempts before the reading")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_model(Path(problems.micro.__file__).parent / "model")
    with Store.read_only(options.record) as store:
        told_by = [
            (row["question"].removeprefix("micro:"), [one.verdict.feedback for one in store.rollouts(row["run"])])
            for row in store.runs()
            if row["method"] == SDPO.name
        ]
    for known in map(int, options.known.split(",")):
        pairs = []
        for name, feedback in told_by:
            history = feedback[:known]
            texts = [text for text in dict.fromkeys(reversed(history)) if text]
            right, prompt = program(named(name)), student_prompt(load(name))
            for own in texts[:NEWEST] if len(feedback) > known else []:
                read = [rule(texts, own, history) for rule in RULES.values()]
                pairs += [(teacher_prompt(prompt, feedback=some), right) for some in read]
        logs = log_p(model, tokenizer, pairs)
        print(
            f"\n{known} attempts known, {len(logs) // len(RULES)} readings\n\n| rule | mean chance | geometric mean |"
        )
        print("|---|---|---|")
        for at, rule in enumerate(RULES):
            found = logs[at :: len(RULES)]
            mean, middle = sum(map(math.exp, found)) / len(found), math.exp(sum(found) / len(found))
            print(f"| {rule} | {mean:.4f} | {middle:.4f} |", flush=True)


if __name__ == "__main__":
    main()
