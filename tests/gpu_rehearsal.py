"""A step of Qwen3-8B's true shape on a GPU that is not there: prints what they took, as JSON.

Under FakeTensorMode tensors have a shape and a device, and no numbers. Run as a program, for it loads `no_gpu`, which
gives this process a CUDA device that does nothing.
"""

from __future__ import annotations

import ctypes
import json
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

if __name__ == "__main__":
    ctypes.CDLL(sys.argv[1])  # before torch asks whether there is CUDA

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: TID253
from torch.autograd.graph import _engine_run_backward  # noqa: TID253
from torch.nn.attention.bias import CausalBias  # noqa: TID253
from torch.overrides import TorchFunctionMode  # noqa: TID253
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes  # noqa: TID253
from torch.utils._pytree import tree_leaves  # noqa: TID253
from torch.utils.flop_counter import FlopCounterMode  # noqa: TID253
from torch.utils.weak import WeakIdKeyDictionary  # noqa: TID253

from ttsd.backbone import Base, LoraShape, check_decodes, frozen, generate
from ttsd.backbone.lora import Adapter
from ttsd.config import Config
from ttsd.machine.shape import KNOWN
from ttsd.nouns import Example, Prompt
from ttsd.training.trainer import Trainer

aten = torch.ops.aten
GPU = torch.device("cuda:0")
NAME = "Qwen/Qwen3-8B"
GROUP, PROMPT, COMPLETION = 2, 2048, 3072
LAYERS = {"step": 8, "checkpointed": 36, "counted": 4, "decoded": 36}  # all of them where that takes seconds
LATE = 2  # of a group of completions, the last ones are asked for while the others are decoded


@dataclass
class Gpu(TorchDispatchMode):
    """Counts the bytes of all tensors on the GPU, and answers what only numbers could: all is 1, true, or token 0."""

    now: int = 0
    peak: int = 0
    _known: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    _no: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default:
            return 1.0 if args[0].dtype.is_floating_point else args[0].dtype == torch.bool and args[0] not in self._no
        if func is aten.equal.default:
            return True
        if func is aten.empty.memory_format and list(args[0]) == [2, 1, 1]:
            with _disable_current_modes():  # a CausalBias can't be made of a tensor without numbers
                return torch.Tensor._make_subclass(CausalBias, torch.empty(0))
        if torch.is_inference_mode_enabled() and func.namespace == "aten":
            with self:  # here a function comes whole, and what it allocates inside counts too
                if (output := func.decompose(*args, **(kwargs or {}))) is not NotImplemented:
                    return output
        output = func(*args, **(kwargs or {}))
        if func is aten.lift_fresh.default:
            output.constant = None  # a number that the mode remembers would really be copied to the GPU
        if func is aten.any.default:  # "all are finite" is true, "any is" of those that were spoiled is not
            self._no[output] = None
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.device == GPU:
                self._count(leaf.untyped_storage())
        return output

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = -(-storage.nbytes() // 512) * 512  # as CUDA's allocator rounds
        self._known.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


class Kernels(TorchFunctionMode):
    """Gives attention to the kernels that CUDA has in 16 bits; without CUDA torch would take the plainest way."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.backward:
            with self:  # what is checkpointed calls attention again
                options = {"allow_unreachable": True, "accumulate_grad": True}
                return _engine_run_backward(args[0], tuple(map(torch.ones_like, args[0])), False, False, (), **options)
        if func is not torch.nn.functional.scaled_dot_product_attention or args[0].device != GPU:
            return func(*args, **kwargs)
        query, key, value = args
        mask, scale = kwargs.get("attn_mask"), kwargs.get("scale")
        if mask is None or isinstance(mask, CausalBias):
            causal = mask is not None or kwargs.get("is_causal", False)
            return aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, scale=scale)[0]
        assert not kwargs.get("enable_gqa"), "this would take the plainest way on CUDA too"
        bias = torch.empty(mask.shape, dtype=query.dtype, device=GPU).expand(*query.shape[:3], key.shape[2])
        return aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, scale=scale)[0]


def model(layers: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    sizes = dict(KNOWN[NAME]) | {"num_hidden_layers": layers}
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    with GPU, no_init_weights():
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def settings(checkpointing: bool) -> Config:
    """Two completions that fill a micro-batch, so that what is planned is what is there."""
    return Config.model_validate(
        {
            "method": "sdpo",
            "model": {"sampler": "transformers", "dtype": "bfloat16", "path": NAME, "max_model_len": 8192},
            "sampling": {"group_size": GROUP, "max_prompt_len": PROMPT, "max_tokens": COMPLETION},
            "reprompt": {"max_reprompt_len": 2 * PROMPT},
            "distillation": {
                "checkpoint_over": 0 if checkpointing else None,
                "token_budget": PROMPT + GROUP * COMPLETION,
            },
        }
    )


def step(base: Base, config: Config) -> None:
    trainer = Trainer(base, config)
    trainer.create("question", 0)
    prompt, logprobs = tuple(range(PROMPT)), (-1.0,) * COMPLETION
    examples = [
        Example(at, prompt, (at, *range(COMPLETION - 1)), logprobs, Prompt((at, *range(2 * PROMPT - 1))))
        for at in range(1, GROUP + 1)
    ]
    assert trainer.step("question", examples)["updated"]
    trainer.snapshot("question")


def decoding() -> Config:
    """A group of short completions: each token takes a second here."""
    lengths = {"group_size": 8, "max_prompt_len": PROMPT // 2, "max_tokens": 12}
    return settings(False).changed("sampling", **lengths).changed("reprompt", max_reprompt_len=PROMPT // 2)


def decode(base: Base, config: Config) -> None:
    """Samples a group that two join later, with a prompt of the same beginning; one is given up at the end."""
    sampling, lora = config.sampling, config.lora
    base.wire(LoraShape(lora.rank, lora.alpha))
    check_decodes(base)
    adapter, prompt = Adapter(base.shapes, base.fresh_values(0)), tuple(range(sampling.max_prompt_len))
    late = [(*prompt[: PROMPT // 4], *prompt[PROMPT // 4 :][::-1])] * LATE
    asked = [0] * sampling.group_size

    def given_up(row: int) -> bool:
        asked[row] += 1
        return row == 0 and asked[row] == sampling.max_tokens - 1

    completions = generate(
        base, adapter, [prompt] * (sampling.group_size - LATE), max_tokens=sampling.max_tokens, seed=0,
        should_stop=given_up, more=lambda now: [late.pop() for _ in late[:]] if asked[0] else [],
    )  # fmt: skip
    lengths = [len(ids) for ids, _, _ in completions]
    assert lengths == [sampling.max_tokens - 1] + [sampling.max_tokens] * (sampling.group_size - 1)


def rehearsed(what: Callable[[Base, Config], None], config: Config, layers: int, counted: Any) -> int:
    """Returns the most bytes that are there at one time; within `counted`."""
    with FakeTensorMode(), Gpu() as gpu, Kernels():
        checkpointing, length = config.distillation.checkpoint_over is not None, config.model.max_model_len
        base = frozen(model(layers), NAME, gradient_checkpointing=checkpointing, max_model_len=length)
        assert base.not_packed is None
        gpu.peak = gpu.now
        with counted:
            what(base, config)
        return gpu.peak


def main() -> None:
    peaks = {
        "step": rehearsed(step, settings(False), LAYERS["step"], nullcontext()),
        "checkpointed": rehearsed(step, settings(True), LAYERS["checkpointed"], nullcontext()),
        "decoded": rehearsed(decode, decoding(), LAYERS["decoded"], nullcontext()),
    }
    counter = FlopCounterMode(display=False)  # it keeps what is checkpointed, so memory is counted without it
    rehearsed(step, settings(False), LAYERS["counted"], counter)
    print(json.dumps({"peaks": peaks, "flops": counter.get_total_flops()}))


if __name__ == "__main__":
    main()
