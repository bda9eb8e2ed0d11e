"""The one door to transformers and peft: a frozen base model, its tokenizer, and LoRA adapters that borrow its layers.

An `Adapter` is a question's own LoRA weights in one flat tensor, lent to the layers of the base while it is in use. So
a hundred questions share one base, switching costs microseconds, and an optimizer, an average or a file handles one
tensor. The files are PEFT's. Dropout is zero and the base never changes.
Not here: losses, optimizers, and what a prompt says.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.errors import InfrastructureError, UserError
from ttsd.lora import Adapter, LoraLinear, LoraShape, views
from ttsd.packing import Forest

__all__ = [
    "Adapter",
    "Base",
    "FinishReason",
    "Generated",
    "LoraShape",
    "Tokenizer",
    "forest_attention",
    "generate",
    "load_base",
    "replacing",
    "resolve",
]

FinishReason = Literal["stop", "length", "abort"]
Generated = tuple[tuple[int, ...], tuple[float, ...], FinishReason]

_ATTENTION = "ttsd_forest"
_USER_TURN = "(user turn)"  # stands for it while the template around it is rendered
_PREFIX = "base_model.model."  # what peft and vLLM put before a module's name in adapter files


def resolve(path: str) -> str:
    """The folder of the bundled model for `micro`; anything else as it is."""
    if path != "micro":
        return path
    folder = resources.files("problems") / "micro" / "model"
    return str(folder)


class Tokenizer:
    """Text to token ids and back, with the model's own chat template."""

    def __init__(self, inner: Any, stop_token_ids: tuple[int, ...], enable_thinking: bool, system: str | None) -> None:
        self._inner = inner
        self.stop_token_ids = stop_token_ids
        self._thinking = enable_thinking
        self._system = [] if system is None else [{"role": "system", "content": system}]

    @classmethod
    def load(cls, path: str, *, enable_thinking: bool = False, system_prompt: str | None = None) -> Tokenizer:
        """UserError: nothing readable at `path`, or no chat template."""
        from transformers import AutoTokenizer

        inner = _loaded("tokenizer", path, lambda: AutoTokenizer.from_pretrained(path))
        if inner.chat_template is None:
            raise UserError(
                f"the tokenizer of {path!r} has no chat template; choose an instruction-tuned model, "
                "or put a chat_template.jinja beside its tokenizer.json"
            )
        return cls(inner, _stop_token_ids(inner, path), enable_thinking, system_prompt)

    def chat(self, user: str) -> tuple[int, ...]:
        """Token ids of the system message (if any), one user turn, and the opening of the assistant's turn.

        A user turn quotes what programs printed; a special token's name in it stays text and ends no turn.
        """
        if not any(name in user for name in self._inner.all_special_tokens):
            return self.encode(self._rendered(user))
        head, tail = self._rendered(_USER_TURN).split(_USER_TURN)
        quoted = self._inner.encode(user, add_special_tokens=False, split_special_tokens=True)
        return (*self.encode(head), *quoted, *self.encode(tail))

    def _rendered(self, user: str) -> str:
        turns = [*self._system, {"role": "user", "content": user}]
        return str(
            self._inner.apply_chat_template(
                turns, add_generation_prompt=True, enable_thinking=self._thinking, tokenize=False
            )
        )

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._inner.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens."""
        return str(self._inner.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def token_text(self, token_id: int) -> str:
        """One token as text, special tokens included."""
        return str(self._inner.decode([token_id], clean_up_tokenization_spaces=False))


class Base:
    """A frozen causal language model. Every use of it holds `lock`, so a sampler and a trainer can share one."""

    def __init__(self, model: Any, path: str) -> None:
        self.model = model
        self.path = path
        self.lock = threading.RLock()
        self.shapes: dict[str, torch.Size] = {}
        head = model.get_output_embeddings()
        self._linear = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        }
        self._shape: LoraShape | None = None
        self._layers: dict[str, LoraLinear] = {}
        self._lent: Adapter | None = None

    @property
    def device(self) -> torch.device:
        return self.head.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the layers compute in."""
        return self.head.dtype

    @property
    def head(self) -> Tensor:
        """The vocabulary projection (vocab, hidden)."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    def wire(self, shape: LoraShape) -> None:
        """Makes the layers that `shape` names ready for adapters. Once per base; another shape is refused."""
        targets = self._targets(shape)
        exact = LoraShape(shape.rank, shape.alpha, targets)
        if self._shape not in (None, exact):
            raise UserError(f"an adapter of {exact} does not fit a base made for {self._shape}; use the same settings")
        if self._shape is None:
            for name, layer in self._linear.items():
                parent, _, child = name.rpartition(".")
                if child in targets:
                    self._layers[name] = LoraLinear(layer, shape.alpha / shape.rank)
                    setattr(self.model.get_submodule(parent), child, self._layers[name])
                    self.shapes[f"{name}.lora_A"] = torch.Size((shape.rank, layer.in_features))
                    self.shapes[f"{name}.lora_B"] = torch.Size((layer.out_features, shape.rank))
        self._shape = exact

    @property
    def adapter_size(self) -> int:
        """Numbers in an adapter."""
        return sum(shape.numel() for shape in self.shapes.values())

    def fresh_values(self, seed: int) -> Tensor:
        """Float32 values of a new adapter: A uniform as in the LoRA paper's code, from `seed`; B zero."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.zeros(self.adapter_size)
        for name, view in views(self.shapes, values).items():
            if name.endswith(".lora_A"):
                bound = view.shape[1] ** -0.5
                view.uniform_(-bound, bound, generator=generator)
        return values.to(self.device)

    @contextmanager
    def lending(self, adapter: Adapter | None) -> Iterator[None]:
        """While inside, the model is base + `adapter` (None: the base alone) and nobody else's."""
        with self.lock:
            self._lend(adapter)
            yield

    def hidden(self, forest: Forest) -> Tensor:
        """Last hidden states (tokens, hidden) of the packed row, after the final norm. Call it within `lending`."""
        device = self.device
        body = self.model.get_decoder()
        output = body(
            input_ids=torch.tensor([forest.token_ids], device=device),
            position_ids=torch.tensor([forest.positions], device=device),
            attention_mask=torch.empty(1, 1, 1, 1, device=device),  # 4-d: taken as ready; ours ignores it
            use_cache=False,
            forest=_Plan.of(forest, self.head),
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Writes `adapter` as a PEFT folder that vLLM and peft load; `folder` appears whole or not at all.

        The numbers are rounded to the precision that the layers compute in, here as there.
        """
        from safetensors.torch import save_file

        tensors = {
            f"{_PREFIX}{name}.weight": view.to("cpu", self.dtype).contiguous()
            for name, view in views(adapter.shapes, adapter.values).items()
        }
        with replacing(folder) as draft:
            save_file(tensors, draft / "adapter_model.safetensors", metadata={"format": "pt"})
            self._peft_config().save_pretrained(draft)

    def load_adapter(self, folder: Path) -> Adapter:
        """The adapter in a PEFT folder; the base is wired for it if it is not yet wired."""
        from safetensors.torch import load_file

        try:
            config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
            tensors = load_file(folder / "adapter_model.safetensors")
        except (OSError, ValueError) as error:
            raise InfrastructureError(f"can't read the adapter in {str(folder)!r}: {error}") from error
        self.wire(LoraShape(config["r"], config["lora_alpha"], tuple(sorted(config["target_modules"]))))
        flat = torch.cat([tensors[f"{_PREFIX}{name}.weight"].flatten() for name in self.shapes])
        return Adapter(self.shapes, flat.to(self.device, torch.float32))

    def _targets(self, shape: LoraShape) -> tuple[str, ...]:
        known = {name.rpartition(".")[2] for name in self._linear}
        wanted = known if shape.target_modules == "all-linear" else set(shape.target_modules)
        if not wanted or not wanted <= known:
            raise UserError(
                f"lora.target_modules = {sorted(wanted)} names layers that {self.path!r} lacks; "
                f"choose from {', '.join(sorted(known))}, or all-linear"
            )
        return tuple(sorted(wanted))

    def _peft_config(self) -> Any:
        from peft import LoraConfig

        assert self._shape is not None, "an adapter exists, so the base is wired"
        return LoraConfig(
            r=self._shape.rank,
            lora_alpha=self._shape.alpha,
            target_modules=list(self._shape.target_modules),
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
            base_model_name_or_path=self.path,
        )

    def _lend(self, adapter: Adapter | None) -> None:
        if adapter is self._lent:
            return
        for name, layer in self._layers.items():
            weights = () if adapter is None else (adapter.parameters[f"{name}.lora_{half}"] for half in "AB")
            layer.lent = tuple(weights)
        self._lent = adapter


def load_base(
    path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantize: Literal["none", "nf4"] = "none",
    gradient_checkpointing: bool = False,
) -> Base:
    """The model at `path` (a folder or a hub name), frozen. `auto`: bfloat16 on CUDA where there is one, else float32.

    UserError: nothing readable at `path`, or an architecture whose attention or logits this tool does not reproduce.
    """
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
    from transformers.masking_utils import sdpa_mask
    from transformers.utils import logging

    logging.disable_progress_bar()
    AttentionInterface.register(_ATTENTION, forest_attention)
    AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
    place = _device(device)
    _leave_cores(place)
    options: dict[str, Any] = {"dtype": _dtype(dtype, place), "attn_implementation": _ATTENTION}
    if quantize == "nf4":
        options |= {"quantization_config": _four_bits(options["dtype"], place), "device_map": {"": place}}
    model = _loaded("model", path, lambda: AutoModelForCausalLM.from_pretrained(path, **options))
    _refuse_unfaithful(model.config, path)
    model.config.attention_dropout = 0.0
    model.requires_grad_(False)
    if quantize == "none":
        model.to(place)
    model.train(gradient_checkpointing)  # transformers checkpoints in training mode only; there is no dropout to wake
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return Base(model, path)


def forest_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: _Plan | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed forest, (1, heads, tokens, dim) -> (1, tokens, heads, dim); without one, plain SDPA."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if forest is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    queries, keys, values = (torch.split(states, forest.lengths, dim=2) for states in (query, key, value))
    outputs = [
        nn.functional.scaled_dot_product_attention(
            own,
            torch.cat([keys[at] for at in chain], dim=2) if len(chain) > 1 else keys[chain[0]],
            torch.cat([values[at] for at in chain], dim=2) if len(chain) > 1 else values[chain[0]],
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for own, chain, mask in zip(queries, forest.chains, forest.masks, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What attention needs to know of a forest; made once and used by every layer."""

    lengths: list[int]
    chains: list[tuple[int, ...]]
    masks: list[Any]

    @classmethod
    def of(cls, forest: Forest, like: Tensor) -> _Plan:
        """`like`: a tensor of the precision and on the device of the attention's inputs."""
        lengths = [len(segment.tokens) for segment in forest.segments]
        chains = [forest.chain(at) for at in range(len(lengths))]
        masks = [
            _suffix_mask(lengths[at], sum(lengths[above] for above in chain), like) if len(chain) > 1 else None
            for at, chain in enumerate(chains)
        ]
        return cls(lengths, chains, masks)


def _suffix_mask(queries: int, keys: int, like: Tensor) -> Any:
    """The last `queries` of `keys` positions see what lies before them. CUDA has a kernel for it, without a matrix."""
    if like.device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right

        return causal_lower_right(queries, keys)
    return torch.full((queries, keys), -torch.inf, dtype=like.dtype, device=like.device).triu(keys - queries + 1)


@torch.no_grad()
def generate(
    base: Base,
    adapter: Adapter | None,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stop_token_ids: Sequence[int] = (),
    seed: int | None = None,
    should_stop: Callable[[int], bool] = lambda row: False,
    on_end: Callable[[int, Generated], None] = lambda row, generated: None,
) -> list[Generated]:
    """Samples one completion per prompt: (token ids, their log-probabilities, finish reason), in the prompts' order.

    The log-probabilities are those of the distribution that was sampled from, temperature and top-p applied. A drawn
    stop token is part of the completion. `should_stop(i)` is asked before every token; a row it gives up ends as
    "abort" and costs nothing further. `on_end(i, its completion)` is called as soon as a row ends. The base is lent
    for one forward pass at a time, and tokens are drawn outside, so a trainer gets its turn.
    """
    generator = torch.Generator(base.device)
    generator.manual_seed(generator.seed() if seed is None else seed)
    rows = [_Row(index, [], []) for index in range(len(prompts))]
    done: dict[int, Generated] = {}
    with base.lending(adapter):
        logits, cache, mask = _prefill(base, prompts)
    alive = list(rows)
    while alive:
        tokens, logprobs = _draw(logits, temperature, top_p, generator)
        for row, token, logprob in zip(alive, tokens.tolist(), logprobs.tolist(), strict=True):
            row.take(token, logprob)
        reasons = [row.finished(max_tokens, stop_token_ids, should_stop) for row in alive]
        for row, reason in zip(alive, reasons, strict=True):
            if reason is not None:
                done[row.index] = (tuple(row.tokens), tuple(row.logprobs), reason)
                on_end(row.index, done[row.index])
        kept = [position for position, reason in enumerate(reasons) if reason is None]
        if not kept:
            break
        if len(kept) < len(alive):
            chosen = torch.tensor(kept, device=base.device)
            cache.batch_select_indices(chosen)
            mask, tokens, alive = mask[chosen], tokens[chosen], [alive[position] for position in kept]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        with base.lending(adapter):
            logits = _decode(base, tokens, cache, mask)
    return [done[row.index] for row in rows]


@dataclass(slots=True)
class _Row:
    """A completion in the making."""

    index: int
    tokens: list[int]
    logprobs: list[float]

    def take(self, token: int, logprob: float) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)

    def finished(
        self, max_tokens: int, stop_token_ids: Sequence[int], should_stop: Callable[[int], bool]
    ) -> FinishReason | None:
        if self.tokens[-1] in stop_token_ids:
            return "stop"
        if len(self.tokens) >= max_tokens:
            return "length"
        return "abort" if should_stop(self.index) else None


def _prefill(base: Base, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Any, Tensor]:
    """Next-token logits, cache and attention mask of left-padded prompts; equal prompts are computed once."""
    unique = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    longest = max(len(prompt) for prompt in unique)
    ids = torch.zeros(len(unique), longest, dtype=torch.long)
    mask = torch.zeros(len(unique), longest, dtype=torch.long)
    for row, prompt in enumerate(unique):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(base.device), mask.to(base.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = base.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    order = torch.tensor([unique.index(tuple(prompt)) for prompt in prompts], device=base.device)
    output.past_key_values.batch_select_indices(order)
    return output.logits[order, -1], output.past_key_values, mask[order]


def _decode(base: Base, tokens: Tensor, cache: Any, mask: Tensor) -> Tensor:
    positions = mask.sum(dim=1, keepdim=True) - 1
    output = base.model(
        input_ids=tokens[:, None], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def _draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token per row of logits (n, vocab), and its log-probability under what it was drawn from."""
    log_probs = torch.log_softmax(logits.float() / temperature, dim=-1)
    if top_p < 1:
        ordered, order = log_probs.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        log_probs = torch.log_softmax(log_probs.masked_fill(dropped, -torch.inf), dim=-1)
    tokens = torch.multinomial(log_probs.exp(), 1, generator=generator)
    return tokens[:, 0], log_probs.gather(-1, tokens)[:, 0]


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A draft folder that takes the place of `folder` when the block ends well, and vanishes when it does not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield draft
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            folder.rename(old)  # onto an empty folder: allowed, and atomic
            draft.rename(folder)
            shutil.rmtree(old)
        else:
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def model_sizes(path: str) -> dict[str, Any]:
    """What the model's config.json says, without loading weights. UserError as for loading the model."""
    from transformers import AutoConfig

    return dict(_loaded("configuration", path, lambda: AutoConfig.from_pretrained(path)).to_dict())


def _loaded(what: str, path: str, load: Callable[[], Any]) -> Any:
    if _looks_local(path) and not Path(path).is_dir():
        raise UserError(
            f"there is no model folder {path!r}; give an existing folder or a Hugging Face name (org/model)"
        )
    try:
        return load()
    except (OSError, ValueError, ImportError, json.JSONDecodeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"can't load the {what} of {path!r} ({reason}); check model.path") from error


def _looks_local(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1


def _stop_token_ids(inner: Any, path: str) -> tuple[int, ...]:
    from transformers import GenerationConfig

    ids = [] if inner.eos_token_id is None else [inner.eos_token_id]
    try:
        listed = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:
        listed = None
    more = listed if isinstance(listed, list) else [listed] if listed is not None else []
    return tuple(dict.fromkeys([*ids, *more]))


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("model.device='cuda', but PyTorch finds no CUDA device here; use model.device=cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _leave_cores(device: torch.device) -> None:
    """On a CPU computes with half of the cores: the sampler or the judge has the rest. OMP_NUM_THREADS overrides it."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    auto = torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"auto": auto, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _four_bits(dtype: torch.dtype, device: torch.device) -> Any:
    if device.type != "cuda":
        raise UserError("model.quantize_base='nf4' needs a CUDA device; use quantize_base=none")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def _refuse_unfaithful(config: Any, path: str) -> None:
    """Logit caps and sliding windows are not reproduced here, and a silent difference from the sampler is the worst."""
    window = getattr(config, "sliding_window", None)
    if window is not None and "sliding_attention" in (getattr(config, "layer_types", None) or []):
        raise UserError(f"{path!r} uses sliding-window attention ({window} tokens), which the trainer lacks; choose another model")  # fmt: skip  # noqa: E501
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise UserError(f"{path!r} rescales its logits ({name}), which the trainer lacks; choose another model")
