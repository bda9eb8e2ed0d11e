"""A frozen causal language model to whose linear layers an adapter can be attached, and how it is loaded."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone import attention
from ttsd.backbone.faithful import why_not_packed
from ttsd.backbone.files import own_length, replacing, sizes_of
from ttsd.backbone.head import body_of, checked_head
from ttsd.backbone.lora import Adapter, LoraLinear, LoraShape, Prepared, views
from ttsd.backbone.packed_weight import PackedWeight, packs
from ttsd.backbone.packing import Forest, Tokens, apart, batches, pack
from ttsd.backbone.peft_folder import keeps_target, peft_config
from ttsd.backbone.processor import cpu_threads, device_named, keep_freed_memory, resolved_dtype
from ttsd.backbone.rope import fix_rope
from ttsd.backbone.weights import load_weights
from ttsd.errors import InfrastructureError, UserError

_CHECKPOINTING = {"use_reentrant": False}
_PREFIX = "base_model.model."  # what peft and vLLM put before a module's name in adapter files


class Base:
    """A frozen causal language model. Every use of it holds `lock`, so a sampler and a trainer can share one."""

    def __init__(self, model: Any, path: str, length: int | None = None) -> None:
        self.model = model
        self.path = path
        self.lock = threading.RLock()
        self.shapes: dict[str, torch.Size] = {}
        self.length = own_length(sizes_of(model.config))
        self.finish = checked_head(model, path)
        self.not_packed = why_not_packed(model, length or self.length)
        body = body_of(model)
        inside = next(name for name, module in model.named_modules() if module is body)
        linear = {f"{inside}.{name}": module for name, module in body.named_modules() if _is_linear(module)}
        kept = {child for child in {_last(name) for name in linear} if keeps_target(model, child)}
        self._linear = {name: module for name, module in linear.items() if _last(name) in kept}
        self._checkpointed = [layer for layer in model.modules() if _checkpoints(layer)]
        self._shape: LoraShape | None = None
        self._layers: dict[str, LoraLinear] = {}
        self._attached: Adapter | Prepared | None = None
        self._packed_head: PackedWeight | None = None

    @property
    def device(self) -> torch.device:
        return self.head.device

    @property
    def dtype(self) -> torch.dtype:
        """Returns the precision that the layers compute in."""
        return self.head.dtype

    @property
    def head(self) -> Tensor:
        """Returns the vocabulary projection (vocab, hidden)."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    def wire(self, shape: LoraShape) -> None:
        """Makes the layers that `shape` names ready for adapters. Once per base; another shape is refused."""
        targets = self._targets(shape)
        exact = LoraShape(shape.rank, shape.alpha, targets)
        if self._shape is not None and self._shape != exact:
            raise UserError(
                f"an adapter of rank {exact.rank} and alpha {exact.alpha} on {', '.join(targets)} does not fit a model "
                f"made ready for rank {self._shape.rank} and alpha {self._shape.alpha} on "
                f"{', '.join(self._shape.target_modules)}; set lora.rank={exact.rank} and lora.alpha={exact.alpha}, or "
                "name an adapter on all linear layers"
            )
        if self._shape is None:
            for name, layer in self._linear.items():
                parent, _, child = name.rpartition(".")
                if child in targets:
                    self._layers[name] = LoraLinear(layer, shape.alpha / shape.rank).eval()
                    setattr(self.model.get_submodule(parent), child, self._layers[name])
                    self.shapes[f"{name}.lora_A"] = torch.Size((shape.rank, layer.in_features))
                    self.shapes[f"{name}.lora_B"] = torch.Size((layer.out_features, shape.rank))
        self._shape = exact

    @property
    def adapter_size(self) -> int:
        """Returns how many numbers an adapter has."""
        return sum(shape.numel() for shape in self.shapes.values())

    def fresh_values(self, seed: int) -> Tensor:
        """Returns float32 values of a new adapter: A uniform as in the LoRA paper's code, from `seed`; B zero."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.zeros(self.adapter_size)
        for name, view in views(self.shapes, values).items():
            if name.endswith(".lora_A"):
                bound = view.shape[1] ** -0.5
                view.uniform_(-bound, bound, generator=generator)
        return values.to(self.device)

    @contextmanager
    def attached(
        self, adapter: Adapter | Prepared | None, *, learns: bool = False, keeps: float = 0.0
    ) -> Iterator[None]:
        """Makes the model, while inside, base + `adapter` (None: the base alone) and nobody else's.

        `learns`: a gradient will be taken before the end. The model stays in evaluation mode, without dropout and
        jitter; only layers that checkpoint are in training mode then. `keeps`: share of the layers that don't.
        """
        with self.lock:
            self._attach(adapter)
            awake = self._checkpointed[int(keeps * len(self._checkpointed)) :] if learns else []
            for module in awake:
                module.training = True
            try:
                yield
            finally:
                for module in awake:
                    module.training = False

    @torch.no_grad()
    def prepared(self, adapter: Adapter | None) -> Prepared:
        """Returns the base with `adapter`, made ready to decode.

        In float32 the adapter is merged, which takes a third of the calls for the same numbers, and a copy of the
        layers. In bfloat16 that would round a young adapter away: there the weights are packed for the processor.
        """
        with self.lock:
            self._attach(None)  # else what is prepared already would stay in memory too
            self._pack()
            layers = {
                name: layer.prepared(adapter.pair(name) if adapter else None) for name, layer in self._layers.items()
            }
            product = (
                self._packed_head.product if self._packed_head else partial(nn.functional.linear, weight=self.head)
            )
            return Prepared(layers, self.finish.after(product))

    @property
    def price(self) -> str | None:
        """Returns what a user should know of a model that can't be packed, in a sentence."""
        if not self.not_packed:
            return None
        return (
            f"{self.path} has {self.not_packed}, so the trainer computes a shared prompt again for each completion: "
            "steps take longer and need more memory, and learn the same"
        )

    def pack(self, sequences: Sequence[Tokens]) -> Forest:
        """Returns the row of `sequences` in which shared beginnings are computed once, where the model allows it."""
        return apart(sequences) if self.not_packed else pack(sequences)

    def batches(self, sequences: Sequence[Tokens], budget: int) -> Iterator[range]:
        """Yields consecutive runs of `sequences` that cost at most `budget` tokens each (`packing.batches`)."""
        return batches(sequences, budget, shares=not self.not_packed)

    def hidden(self, forest: Forest) -> Tensor:
        """Returns the last hidden states (tokens, hidden) of a row made by `pack`, ready for the projection `head`.

        `finish` makes logits of what is projected. Call it within `attached`.
        """
        body = body_of(self.model)
        if self.not_packed:
            return self.finish.scaled(self._apart(body, forest))
        output = body(**attention.packed_inputs(forest, self.head))
        hidden: Tensor = output.last_hidden_state[0]
        return self.finish.scaled(hidden)

    def _apart(self, body: Any, forest: Forest) -> Tensor:
        """Returns the hidden states of sequences that each have a row and states of their own.

        Padding stands behind them, where no earlier token sees it, so the model's own mask serves.
        """
        tokens = [torch.tensor(segment.tokens, device=self.device) for segment in forest.segments]
        padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        output = body(input_ids=padded, use_cache=False).last_hidden_state
        return torch.cat([row[: len(own)] for row, own in zip(output, tokens, strict=True)])

    @torch.no_grad()
    def plain_logits(self, tokens: Tokens, count: int) -> Tensor:
        """Returns the logits (count, vocab) of the last tokens as transformers' own forward pass has them."""
        ids = torch.tensor([tokens], device=self.device)
        logits: Tensor = self.model(input_ids=ids, use_cache=False, logits_to_keep=count).logits[0, -count:]
        return logits

    @contextmanager
    def rounded_again(self) -> Iterator[None]:
        """Makes each linear layer's output, while inside, off by as much as rounding it once more to `dtype` would."""
        step, generator = torch.finfo(self.dtype).eps, torch.Generator(self.device).manual_seed(0)

        def off(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            noise = torch.rand(output.shape, generator=generator, device=self.device) - 0.5
            return (output.float() * (1 + step * noise)).to(output.dtype)

        hooks = [layer.register_forward_hook(off) for layer in self._layers.values()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Writes `adapter` as a PEFT folder that vLLM and peft load; `folder` appears whole or not at all.

        The numbers are rounded to the precision that the layers compute in, here as there.
        """
        from safetensors.torch import save_file

        assert self._shape is not None, "an adapter exists, so the base is wired"
        tensors = {
            f"{_PREFIX}{name}.weight": view.to("cpu", self.dtype).contiguous()
            for name, view in views(adapter.shapes, adapter.values).items()
        }
        with replacing(folder) as draft:
            save_file(tensors, draft / "adapter_model.safetensors", metadata={"format": "pt"})
            config = peft_config(self.model, self._shape, self._layers.keys(), self.path)
            (draft / "adapter_config.json").write_text(json.dumps(config, indent=2), "utf-8")

    def load_adapter(self, folder: Path) -> Adapter:
        """Returns the adapter in a PEFT folder; the base is wired for it if it is not yet wired.

        InfrastructureError: it can't be read; UserError: it was made for other layers than this base has.
        """
        from safetensors.torch import load_file

        try:
            config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
            tensors = load_file(folder / "adapter_model.safetensors")
        except (OSError, ValueError) as error:
            raise InfrastructureError(f"can't read the adapter in {str(folder)!r}: {error}") from error
        targets = {_last(name) for name in config["target_modules"]}
        self.wire(LoraShape(config["r"], config["lora_alpha"], tuple(sorted(targets))))
        if {name: tensor.shape for name, tensor in tensors.items()} != {
            f"{_PREFIX}{name}.weight": shape for name, shape in self.shapes.items()
        }:
            raise UserError(f"the adapter in {str(folder)!r} is for another model than {self.path!r}; name its own")
        flat = torch.cat([tensors[f"{_PREFIX}{name}.weight"].flatten() for name in self.shapes])
        return Adapter(self.shapes, flat.to(self.device, torch.float32))

    def _targets(self, shape: LoraShape) -> tuple[str, ...]:
        known = {_last(name) for name in self._linear}
        wanted = known if shape.target_modules == "all-linear" else set(shape.target_modules)
        if not known:
            raise UserError(f"{self.path!r} has no linear layers that an adapter fits; choose another model")
        if not wanted <= known:
            raise UserError(
                f"an adapter for the layers {sorted(wanted)} does not fit {self.path!r}; "
                f"name one for {', '.join(sorted(known))}"
            )
        return tuple(sorted(wanted))

    @torch.inference_mode(mode=False)  # where they are packed they are learnt with later
    def _pack(self) -> None:
        """Packs layers and head where that pays; the head also has a plain copy, in which words are looked up."""
        if sum(layer.pack() for layer in self._layers.values()):
            for weight in self.model.parameters():
                weight.data = weight.data.clone()  # lets go of the file that was mapped, all layers in it
        head = self.model.get_output_embeddings()
        if self._packed_head is None and packs(head):
            self._packed_head = PackedWeight.of(head.weight)

    def _attach(self, adapter: Adapter | Prepared | None) -> None:
        if adapter is self._attached:
            return
        for name, layer in self._layers.items():
            match adapter:
                case None:
                    layer.attached = None
                case Prepared(layers):
                    layer.attached = layers[name]
                case Adapter():
                    layer.attached = adapter.pair(name)
        self._attached = adapter


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _is_linear(module: nn.Module) -> bool:
    """Tells whether a layer is a plain product; a router of experts may be one by name and return more than that."""
    return isinstance(module, nn.Linear) and not type(module).__module__.startswith("transformers.")


def _checkpoints(module: nn.Module) -> bool:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


def load_base(
    path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantize: Literal["none", "nf4"] = "none",
    gradient_checkpointing: bool = False,
    threads: int | None = None,
    max_model_len: int | None = None,
) -> Base:
    """Returns the model at `path` (a folder or a hub name), frozen; `auto` as `resolved_dtype` has it.

    `threads`: that compute on a CPU in the calling thread and in those that start later; None: half of the cores.

    UserError: nothing readable at `path`, or an architecture whose attention or logits this tool does not reproduce.
    """
    if device_named(device).type == "cpu":
        torch.set_num_threads(threads or cpu_threads(None, alone=False))
        keep_freed_memory()
    model = load_weights(path, **loading_options(dtype, device, quantize))
    for modality in ("image", "video", "audio"):  # questions have none
        encoder = model.get_encoder(modality)  # itself where it has none, or None
        if encoder is not model and encoder is not None:
            for parameter in encoder.parameters():
                parameter.data = parameter.data.new_empty(0)
    return frozen(model, path, gradient_checkpointing=gradient_checkpointing, max_model_len=max_model_len)


def loading_options(dtype: str, device: str, quantize: Literal["none", "nf4"]) -> dict[str, Any]:
    """Returns the options of `from_pretrained` that load a model in this precision to this device."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    place = device_named(device)
    number = getattr(torch, resolved_dtype(dtype, place.type))
    options = {"dtype": number, **_placement(place)}
    if quantize == "nf4":
        options |= {"quantization_config": _four_bits(number), "device_map": {"": place}}
    return options


def frozen(model: Any, path: str, *, gradient_checkpointing: bool = False, max_model_len: int | None = None) -> Base:
    """Returns a loaded model of transformers as a base. UserError: its attention or logits are not reproduced here."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(attention.NAME, attention.forest_attention)
    AttentionMaskInterface.register(attention.NAME, sdpa_mask)
    fix_rope(model, max_model_len or own_length(sizes_of(model.config)))
    for module in model.modules():  # else bitsandbytes changes its weights to a form that has no gradients
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.requires_grad_(False)
    model.eval()
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(_CHECKPOINTING)
        for layer in filter(_checkpoints, model.modules()):
            layer._gradient_checkpointing_func = partial(_evaluated, layer, layer._gradient_checkpointing_func)
    return Base(model, path, max_model_len)


def _evaluated(layer: nn.Module, checkpoint: Callable[..., Any], call: Callable[..., Any], *args: Any) -> Any:
    """Checkpoints a layer that is in training mode for that reason alone: it computes as in evaluation."""

    def evaluated(*inputs: Any) -> Any:
        layer.training = False
        try:
            return call(*inputs)
        finally:
            layer.training = True

    return checkpoint(evaluated, *args)


def _placement(device: torch.device) -> dict[str, Any]:
    """Loads weights straight to a GPU, in segments that grow: main memory need not hold the model first.

    PyTorch has read its environment by now, so the segments are asked for directly; not of vLLM, whose kernels for
    several GPUs hand their memory from process to process.
    """
    if device.type == "cpu":
        return {}
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ):
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")
    return {"device_map": {"": device}}


def _four_bits(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise UserError(
            'model.quantization with nf4 needs the package bitsandbytes; run `pip install "ttsd[nf4]"`, '
            "or use model.quantization=none"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )
