"""Peak memory and time of loss + backward: the logits of all tokens at once against chunks of tokens, over T.

    python -m tests.bench.bench_losses [--tokens 512 1024 2048 4096] [--vocab 151936] [--hidden 256] [--chunk 64]

Every figure comes from a process of its own (peak resident memory above what the inputs take). Times are processor
seconds of one thread, so neighbours on the machine matter little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

OPTIONS: dict[str, Any] = {"alpha": 1.0, "distillation_topk": 20, "distillation_add_tail": True, "log_ratio_clip": 5.0}
MIB = 1 << 20


def measure(kind: str, tokens: int, vocab: int, hidden: int, chunk: int) -> dict[str, float]:
    """Loss + backward once, in this process."""
    import torch

    from ttsd.training.losses import chunked_distillation_loss

    torch.set_num_threads(1)
    torch.manual_seed(0)
    head, student = torch.randn(vocab, hidden) * hidden**-0.5, torch.randn(1, tokens, hidden)
    teacher = student + 0.3 * torch.randn(1, tokens, hidden)
    ids, mask = torch.randint(vocab, (1, tokens)), torch.ones(1, tokens)
    student.requires_grad_()
    runs: dict[str, Callable[[], torch.Tensor]] = {
        kind: partial(chunked_distillation_loss, student, teacher, head, ids, mask, chunk_tokens=count, **OPTIONS)
        for kind, count in (("whole", tokens), ("chunked", chunk))
    }
    runs["textbook"] = lambda: textbook(student @ head.T, teacher @ head.T)
    before, start = peak_mib(), time.process_time()
    loss = runs[kind]()
    torch.autograd.backward(loss)
    seconds = time.process_time() - start
    assert student.grad is not None
    return {
        "peak_mib": peak_mib() - before,
        "seconds": seconds,
        "loss": float(loss.detach()),
        "gradient": float(student.grad.norm()),
    }


def textbook(student: Any, teacher: Any) -> Any:
    """Reverse KL on the top 20 and a tail by autograd over whole log-softmaxes: how it is usually written."""
    import torch

    p, q = student.log_softmax(-1), teacher.detach().log_softmax(-1)
    ids = p.topk(20, dim=-1).indices
    p, q = (
        torch.cat([x, torch.log(-torch.expm1(x.logsumexp(-1, keepdim=True).clamp(max=-1e-7)))], dim=-1)
        for x in (p.gather(-1, ids), q.gather(-1, ids))
    )
    q = p.detach() + (q - p.detach()).clamp(-5, 5)
    return (p.exp() * (p - q)).sum(-1).mean()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def in_process(kind: str, *sizes: int) -> dict[str, float]:
    """`measure` in a fresh interpreter."""
    call = [sys.executable, "-m", "tests.bench.bench_losses", "--child", kind, *map(str, sizes)]
    found: dict[str, float] = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--textbook", action="store_true", help="a third column, whose peak is about 20 GB at T = 4096")
    chosen = parser.parse_args(arguments)
    kinds = ["whole", "chunked", *(["textbook"] if chosen.textbook else [])]
    print(
        f"{'T':>6} {'kind':>9} {'peak MiB':>10} {'cpu s':>8} {'loss':>12} {'|gradient|':>12} {'memory':>7} {'time':>6}"
    )
    for tokens in chosen.tokens:
        found = {kind: in_process(kind, tokens, chosen.vocab, chosen.hidden, chosen.chunk) for kind in kinds}
        for kind, row in found.items():
            ratios = [row[key] / found["whole"][key] for key in ("peak_mib", "seconds")]
            print(
                f"{tokens:>6} {kind:>9} {row['peak_mib']:>10.0f} {row['seconds']:>8.1f} {row['loss']:>12.7f} "
                f"{row['gradient']:>12.4e} {ratios[0]:>7.3f} {ratios[1]:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main(sys.argv[1:])
