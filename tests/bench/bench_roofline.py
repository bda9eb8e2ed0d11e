"""What a real model's step could cost if it were matrix products alone, and what it does cost.

    python -m tests.bench.bench_roofline --model FOLDER [--rounds 3] [--group 8] [--tokens 32] [--prompt 200]
        [--threads 1] [--checkpointing]

Blocks alternate: the products of one decoded token, plain and packed (each of the model's weights once, `group` rows);
the `transformers` sampler under an adapter; a product of 2,048 rows, taken for the processor's peak; a learning step.
Of a step count the useful operations only: the student forwards and backwards, the teacher forwards, each completion
token's vocabulary three times; neither recomputation nor the distance to the base. Processor seconds of one thread
(`--threads 1`) bear other work on the machine; wall seconds of several don't. Medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone import generate
from ttsd.backbone.packed_weight import PackedWeight, packs
from ttsd.config import Config
from ttsd.nouns import Example, Prompt
from ttsd.training.trainer import Trainer

PEAK = (2048, 896, 4864)  # rows, in, out
FEEDBACK = 0.5  # tokens of feedback per token of prompt


def ids(count: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(1000, 30000, (count,), generator=generator).tolist())


def examples(given: argparse.Namespace) -> list[Example]:
    prompt, feedback = ids(given.prompt, 0), int(FEEDBACK * given.prompt)
    return [
        Example(at + 1, prompt, completion, (-2.0,) * given.tokens, Prompt(prompt + ids(feedback, 100 + at)))
        for at, completion in enumerate(ids(given.tokens, 1 + at) for at in range(given.group))
    ]


def useful_operations(trainer: Trainer, given: argparse.Namespace) -> float:
    """Returns the floating-point operations of one step; a prompt counts once, as no pass needs it twice."""
    linear = sum(layer.weight.numel() for layer in linears(trainer))
    completions = given.group * given.tokens
    student = given.prompt + completions
    teacher = given.prompt + given.group * int(FEEDBACK * given.prompt) + completions
    return 2.0 * linear * (2 * student + teacher) + 2.0 * trainer.base.head.numel() * 3 * completions


def linears(trainer: Trainer) -> list[nn.Linear]:
    head = trainer.base.model.get_output_embeddings()
    return [module for module in trainer.base.model.modules() if isinstance(module, nn.Linear) and module is not head]


def products(trainer: Trainer, rows: int, packed: bool) -> Callable[[], None]:
    """Returns a call that multiplies every weight of the model once, by `rows` rows."""
    weights = [layer.weight.detach() for layer in [*linears(trainer), trainer.base.model.get_output_embeddings()]]
    states = {weight.shape[1]: torch.randn(rows, weight.shape[1], dtype=weight.dtype) for weight in weights}
    ready = [PackedWeight.of(weight) for weight in weights] if packed else []

    @torch.inference_mode()
    def call() -> None:
        if packed:
            for weight, layer in zip(weights, ready, strict=True):
                layer.product(states[weight.shape[1]])
            return
        for weight in weights:
            nn.functional.linear(states[weight.shape[1]], weight)

    return call


def peak(dtype: torch.dtype) -> Callable[[], Tensor]:
    rows, inward, outward = PEAK
    left, right = torch.randn(rows, inward, dtype=dtype), torch.randn(outward, inward, dtype=dtype)
    return lambda: nn.functional.linear(left, right)


def seconds(call: Callable[[], object], clock: Callable[[], float], times: int = 1) -> float:
    start = clock()
    for _ in range(times):
        call()
    return (clock() - start) / times


def measure(given: argparse.Namespace) -> None:
    config = Config().changed("distillation", checkpoint_over=0 if given.checkpointing else None)
    trainer = Trainer(given.model, config, threads=given.threads)
    trainer.create("question", 0)
    trainer.perturb("question", 1, 0.01)
    clock = time.process_time if given.threads == 1 else time.monotonic
    taught, head = examples(given), trainer.base.model.get_output_embeddings()
    operations, largest = useful_operations(trainer, given), 2.0 * PEAK[0] * PEAK[1] * PEAK[2]

    def decode(adapted: bool) -> float:
        """Returns the seconds between one token of the group and the next."""
        adapter = trainer._learners["question"].student if adapted else None
        prompts, stamps = [taught[0].prompt_ids] * given.group, list[float]()

        def stamp(row: int) -> bool:
            if row == 0:
                stamps.append(clock())
            return False

        generate(trainer.base, adapter, prompts, max_tokens=given.tokens + 1, seed=0, should_stop=stamp)
        return median(after - before for before, after in itertools.pairwise(stamps))

    kinds = {"plain": products(trainer, given.group, packed=False)}
    if packs(head):
        kinds["packed"] = products(trainer, given.group, packed=True)
    highest = peak(trainer.base.dtype)
    found: dict[str, list[float]] = {}
    for at in range(given.rounds + 1):
        alone = {kind: seconds(call, clock, 4) for kind, call in kinds.items()}
        full = {who: decode(who == "adapter") for who in ("base", "adapter")}
        top = largest / seconds(highest, clock, 8)
        step = seconds(lambda: trainer.step("question", taught), clock)
        if at == 0:
            continue  # the first round warms up
        note = {f"token by {kind} products, ms": 1e3 * value for kind, value in alone.items()}
        note |= {f"token sampled, {kind}, ms": 1e3 * value for kind, value in full.items()}
        note |= {
            f"share of what {kind} products allow, {who}": alone[kind] / value
            for kind in alone
            for who, value in full.items()
        }
        note |= {"peak, GFLOP/s": top / 1e9, "step, s": step, "step, share of peak": operations / step / top}
        for name, value in note.items():
            found.setdefault(name, []).append(value)
        print(f"round {at}: " + ", ".join(f"{name} {value:.3g}" for name, value in note.items()), flush=True)
    for name, values in found.items():
        print(f"{name}: {median(values):.3g} ({min(values):.3g} to {max(values):.3g})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    for name, value in {"rounds": 3, "group": 8, "tokens": 32, "prompt": 200, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--checkpointing", action="store_true")
    measure(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
