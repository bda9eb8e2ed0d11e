"""Fits the settings that nobody has set to a model and a machine, so that `-m MODEL` is enough.

Plans are tried in the order of quality, and the first whose memory fits is taken. A plan gives up, in this order:
1. speed: large micro-batches, then activations that are kept for the backward pass
2. a second GPU, and more: first sampler and trainer share one, then each has its own
3. the group: 16 attempts, then 8, then 4
4. the completion: 8192 tokens, as in the paper, then 4096; a context has 2048 tokens more
5. bits: vLLM and trainer in 16; vLLM in 8, which importance weights correct; one copy in 16 for both, sampled by
   transformers, which is slower; the trainer in 4 and vLLM in 16 or 8; one copy in 4
6. the completion again: 2048 and 1024 tokens, with all bits, then with fewer

On a CPU time is short before memory is: groups of 8, completions of 1024 tokens. Learning has the same settings on
every machine, because nothing measured says that they depend on the model's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.gpus import GIB, GPUS, Machine, machine_named
from ttsd.machine.memory import Memory, longest_lengths, memory_of
from ttsd.machine.shape import KNOWN, Shape
from ttsd.methods import Method
from ttsd.sampling.kinds import sampler_named

PLACES = (
    "model.device", "model.dtype", "model.sampler", "model.quantization", "model.tensor_parallel_size",
    "model.max_model_len", "sampling.group_size", "sampling.max_tokens", "sampling.max_prompt_len",
    "reprompt.max_reprompt_len", "distillation.token_budget", "distillation.checkpoint_over",
)  # fmt: skip
PROMPT = 2048  # tokens of a question; a context has as many on top of a completion
MICRO_BATCH = 16384
GPU_BITS = (  # the sampler, and what is held in fewer than 16 bits
    ("vllm", "none"), ("vllm", "fp8"), ("transformers", "none"),
    ("vllm", "nf4"), ("vllm", "fp8+nf4"), ("transformers", "nf4"),
)  # fmt: skip
_AMPERE, _ADA = 80, 89  # capabilities: bfloat16, products of 8-bit numbers

Plan = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings that fit, the places of those that were chosen, the memory (None: unknown), and a line about it all."""

    config: Config
    chosen: frozenset[str]
    memory: Memory | None
    line: str


def fitted(config: Config, sizes: Mapping[str, Any], machine: Machine) -> Fit:
    """Returns `config` with everything in `PLACES` that nobody has set chosen for a model and a machine.

    `sizes`: the model's config.json. UserError: nothing fits, or what is set contradicts itself or the model.
    """
    from ttsd.backbone import own_length

    own, wanted = own_length(sizes), config.model.max_model_len
    if wanted is not None and wanted > own:
        raise UserError(f"model.max_model_len={wanted} is more than the {own} tokens that the model takes; lower it")
    chosen = frozenset(place for place in PLACES if _is_open(config, place))
    search = _Search(config, chosen, machine, wanted or own)
    first = next(search.candidates())
    try:
        shape = Shape.read(sizes)
    except UserError as error:
        return Fit(
            first, chosen, None, f"{config.model.path}: {', '.join(_words(first))}: memory is not known: {error}"
        )
    found = search.best(shape)
    if found is None and chosen:
        raise UserError(_nothing_fits(search, shape))
    config, memory = found or (first, search.memory(first, shape))
    return Fit(config, chosen, memory, _line(search, shape, first, config, memory))


def hungriest(methods: Iterable[Method]) -> Method:
    """Returns the method that takes most memory: settings that fit it fit the others."""
    return max(methods, key=lambda method: (method.learns, method.row.waits))


def check_sampler(config: Config) -> None:
    """Checks that the sampler can do what [model] asks of it. UserError: it can't."""
    model, kind = config.model, sampler_named(config.model.sampler)
    if model.sampler_bits == "fp8" and (not kind.own_weights or model.device == "cpu"):
        raise UserError(
            f"model.quantization={model.quantization} needs vLLM on a GPU, not {model.sampler} on {model.device}; use "
            "model.sampler=vllm there, or another quantization"
        )
    if model.tensor_parallel_size > 1 and (model.device == "cpu" or not kind.own_weights):
        raise UserError(
            f"model.tensor_parallel_size={model.tensor_parallel_size} spreads vLLM over several GPUs, but "
            f"{model.sampler} runs on {model.device} here; leave it out"
        )
    if model.apart and not kind.own_weights:
        raise UserError(
            f"model.sampler={model.sampler} samples with the trainer's weights, so model.device={model.device} must "
            "name one GPU; or use model.sampler=vllm"
        )


@dataclass(frozen=True, slots=True)
class _Search:
    """The plans for one configuration on one machine. `chosen`: the places that a plan may set."""

    config: Config
    chosen: frozenset[str]
    machine: Machine
    positions: int

    def best(self, shape: Shape) -> tuple[Config, Memory] | None:
        """Returns the first settings that fit, and their memory; None: there are none."""
        with suppress(UserError):
            for one in self.candidates():
                if (memory := self.memory(one, shape)).fits:
                    return one, memory
        return None

    def memory(self, config: Config, shape: Shape) -> Memory:
        """Returns what one question needs."""
        return memory_of(config, shape, self.machine.used_by(config.model), questions=1)

    def candidates(self) -> Iterator[Config]:
        """Yields the settings in the order of quality. UserError: all of them contradict themselves."""
        refusal, some = None, False
        for plan in self._plans():
            candidate = self._with_lengths(self._with(self.config, plan))
            try:
                check_sampler(candidate)
                self.machine.used_by(candidate.model)
            except UserError as error:
                refusal = refusal or error
                continue
            some = True
            for batch in _micro_batches(candidate):
                yield self._with(candidate, batch)
        if refusal is not None and not some:
            raise refusal

    def _plans(self) -> Iterator[Plan]:
        """Yields everything but micro-batches and the lengths that follow from the completion's."""
        on_cpu = self.config.model.device == "cpu" or not self.machine.gpus
        groups = (8, 4, 2) if on_cpu else (16, 8, 4)
        for lengths in ((1024, 512),) if on_cpu else ((8192, 4096), (2048, 1024)):
            for bits, tokens, group, devices in product(
                self._bits(on_cpu), lengths, groups, [("cpu", 1)] if on_cpu else _devices(self.machine)
            ):
                devices_and_tokens = (*devices, group, tokens)
                places = "model.device", "model.tensor_parallel_size", "sampling.group_size", "sampling.max_tokens"
                yield {**bits, **dict(zip(places, devices_and_tokens, strict=True))}

    def _bits(self, on_cpu: bool) -> list[Plan]:
        machine = self.machine
        if on_cpu:
            dtypes = ["bfloat16"] if machine.bfloat16 else ["float32", "bfloat16"]
            kinds = [(dtype, "transformers", "none") for dtype in dtypes]
        else:
            dtype = "bfloat16" if machine.capability >= _AMPERE else "float16"
            kinds = [
                (dtype, sampler, bits)
                for sampler, bits in GPU_BITS
                if sampler in machine.samplers and ("fp8" not in bits or machine.capability >= _ADA)
            ]
        places = "model.dtype", "model.sampler", "model.quantization"
        return [dict(zip(places, kind, strict=True)) for kind in kinds]

    def _with_lengths(self, config: Config) -> Config:
        """Returns `config` with the lengths that go with its completion. UserError: it leaves no room for a prompt."""
        config = self._with(
            config, {"sampling.max_tokens": min(config.sampling.max_tokens, max(1, self.positions // 2))}
        )
        completion = config.sampling.max_tokens
        room = self.positions - completion
        if room < 1:
            raise UserError(
                f"sampling.max_tokens={completion} leaves no room for a prompt in the {self.positions} tokens that "
                f"{'model.max_model_len allows' if self.config.model.max_model_len else 'the model takes'}; lower it"
            )
        prompts = {
            "sampling.max_prompt_len": min(PROMPT, room),
            "reprompt.max_reprompt_len": min(PROMPT + completion, room),
        }
        config = self._with(config, prompts)
        longest = max(config.sampling.max_prompt_len, config.reprompt.max_reprompt_len) + completion
        return self._with(config, {"model.max_model_len": min(self.positions, longest)})

    def _with(self, config: Config, plan: Plan) -> Config:
        """Returns `config` with a plan's settings where nobody has set others."""
        for place in plan.keys() & self.chosen:
            section, _, name = place.partition(".")
            config = config.changed(section, **{name: plan[place]})
        return config


def _is_open(config: Config, place: str) -> bool:
    section, _, name = place.partition(".")
    values = getattr(config, section)
    return name not in values.model_fields_set or getattr(values, name) == "auto"


def _devices(machine: Machine) -> list[tuple[str, int]]:
    """Returns one GPU for both, and the sampler on 1, 2 or 4 GPUs with the trainer on the next one."""
    return [("cuda", 1), *((f"cuda:0+cuda:{count}", count) for count in (1, 2, 4) if count < len(machine.gpus))]


def _micro_batches(config: Config) -> Iterator[Plan]:
    """Yields a large one and one of a single sequence with all activations kept, then ones that keep fewer."""
    lengths = longest_lengths(config)
    row = max(lengths.prompt, lengths.teacher_prompt) + lengths.completion
    for tokens, kept in ((max(row, MICRO_BATCH), None), (row, None), (row, row // 2), (row, row // 4), (row, 0)):
        yield {"distillation.token_budget": tokens, "distillation.checkpoint_over": kept}


def _words(config: Config) -> list[str]:
    """Returns the settings in words, one for each decision."""
    model, sampling, distillation = config.model, config.sampling, config.distillation
    over = distillation.checkpoint_over
    bits = "" if model.quantization == "none" else f" ({model.quantization})"
    kept = "all activations" if over is None else f"the activations of {over} tokens" if over else "no activations"
    return [
        f"{model.sampler} on {model.device}{f' x {model.tensor_parallel_size}' * (model.tensor_parallel_size > 1)}",
        f"{model.dtype}{bits}",
        f"groups of {sampling.group_size}",
        f"completions of {sampling.max_tokens} tokens, contexts of {config.reprompt.max_reprompt_len}",
        f"micro-batches of {distillation.token_budget} tokens that keep {kept}",
    ]


def _line(search: _Search, shape: Shape, first: Config, config: Config, memory: Memory) -> str:
    """Says what was chosen and why: what the first choice would have needed."""
    line = f"{config.model.path}: {', '.join(_words(config))}: {memory.in_words(search.machine)}"
    lacks = [word for word in _words(first) if word not in _words(config)]
    if not lacks:
        return f"{line}; nothing had to be given up"
    needs = search.memory(first, shape).needs.values()
    return f"{line}; the first choice ({', '.join(lacks)}) needs {sum(needs) / GIB:.1f} GiB"


def _nothing_fits(search: _Search, shape: Shape) -> str:
    """Says what the most frugal plan needs, and names what is nearest to it and does fit."""
    config, machine = search.config, search.machine
    *_, last = search.candidates()
    needs = sum(search.memory(last, shape).needs.values())
    said = f"{config.model.path} does not fit {machine}: {', '.join(_words(last))} need {needs / GIB:.1f} GiB"
    remedies = [*_without_one(search, shape), *_smaller(search), *_larger(search, shape)]
    return f"{said}; what fits: {', or '.join(remedies) or 'a smaller model'}"


def _without_one(search: _Search, shape: Shape) -> list[str]:
    """Names the first setting that somebody has set and without which there is a plan."""
    for place in PLACES:
        if place not in search.chosen:
            section, _, name = place.partition(".")
            freed = _Search(search.config, search.chosen | {place}, search.machine, search.positions)
            if found := freed.best(shape):
                return [f"{place}={getattr(getattr(found[0], section), name)}"]
    return []


def _smaller(search: _Search) -> list[str]:
    """Names the largest well-known model that fits the machine."""
    sizes = sorted(((Shape.read(one), name) for name, one in KNOWN.items()), key=lambda one: -one[0].linear)
    return next(([f"-m {name} there"] for shape, name in sizes if search.best(shape)), [])


def _larger(search: _Search, shape: Shape) -> list[str]:
    """Names the smallest machine, of those larger than this one, on which the model fits."""
    names = [f"cpu-{gb}" for gb in (16, 32, 64, 128, 256)] if not search.machine.gpus else []
    by_size = sorted(GPUS, key=lambda name: GPUS[name][0])
    for name in [*names, *by_size, *(f"{count}x{name}" for count in (2, 3, 5) for name in by_size)]:
        other = _Search(search.config, search.chosen, machine_named(name), search.positions)
        if other.machine.size > search.machine.size * (bool(names) == (not other.machine.gpus)) and other.best(shape):
            return [f"{search.config.model.path} on {name}"]
    return []
