"""A frozen causal language model to whose linear layers an adapter can be attached, and how it is loaded."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone import attention
from ttsd.backbone.files import loaded, replacing
from ttsd.backbone.lora import Adapter, LoraLinear, LoraShape, Prepared, views
from ttsd.backbone.packed_weight import PackedWeight, packs
from ttsd.backbone.packing import Forest
from ttsd.backbone.processor import cpu_threads, device_named, keep_freed_memory, resolved_dtype
from ttsd.errors import InfrastructureError, UserError

_CHECKPOINTING = {"use_reentrant": False}
_PREFIX = "base_model.model."  # what peft and vLLM put before a module's name in adapter files


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

        `learns`: a gradient will be taken before the end. Only then is the model in training mode, in which
        transformers checkpoints gradients (and drops its cache of keys and values), and in which bitsandbytes has
        gradients on a CPU. There is no dropout to wake. `keeps`: share of the layers that aren't checkpointed then.
        """
        with self.lock:
            self._attach(adapter)
            if not learns:
                yield
                return
            keeping = self._checkpointed[: int(keeps * len(self._checkpointed))]
            self.model.train()
            for layer in keeping:
                layer.gradient_checkpointing = False
            try:
                yield
            finally:
                self.model.eval()
                for layer in keeping:
                    layer.gradient_checkpointing = True

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
            return Prepared(
                layers, self._packed_head.product if self._packed_head else self.model.get_output_embeddings()
            )

    def hidden(self, forest: Forest) -> Tensor:
        """Returns the last hidden states (tokens, hidden) of the packed row, after the final norm.

        Call it within `attached`.
        """
        device = self.device
        body = self.model.get_decoder()
        output = body(
            input_ids=torch.tensor([forest.token_ids], device=device),
            position_ids=torch.tensor([forest.positions], device=device),
            attention_mask=torch.empty(1, 1, 1, 1, device=device),  # 4-d: taken as ready; ours ignores it
            use_cache=False,
            forest=attention.Plan.of(forest, self.head),
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
        """Returns the adapter in a PEFT folder; the base is wired for it if it is not yet wired."""
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
) -> Base:
    """Returns the model at `path` (a folder or a hub name), frozen; `auto` as `resolved_dtype` has it.

    `threads`: that compute on a CPU in the calling thread and in those that start later; None: half of the cores.

    UserError: nothing readable at `path`, or an architecture whose attention or logits this tool does not reproduce.
    """
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
    from transformers.masking_utils import sdpa_mask
    from transformers.utils import logging

    logging.disable_progress_bar()
    AttentionInterface.register(attention.NAME, attention.forest_attention)
    AttentionMaskInterface.register(attention.NAME, sdpa_mask)
    place = device_named(device)
    if place.type == "cpu":
        torch.set_num_threads(threads or cpu_threads(None, alone=False))
        keep_freed_memory()
    number = getattr(torch, resolved_dtype(dtype, place.type, path))
    options = {"dtype": number, "attn_implementation": attention.NAME, **_placement(place)}
    if quantize == "nf4":
        options |= {"quantization_config": _four_bits(number), "device_map": {"": place}}
    model = loaded("model", path, lambda: AutoModelForCausalLM.from_pretrained(path, **options))
    _refuse_unfaithful(model.config, path)
    model.config.attention_dropout = 0.0
    model.requires_grad_(False)
    model.eval()
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(_CHECKPOINTING)
    return Base(model, path)


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
            "model.quantize_base='nf4' needs the package bitsandbytes; run `pip install \"ttsd[nf4]\"`, "
            "or use quantize_base=none"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def _refuse_unfaithful(config: Any, path: str) -> None:
    """Refuses logit caps and sliding windows: they are not reproduced here, and a silent difference from the sampler is
    the worst.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and "sliding_attention" in (getattr(config, "layer_types", None) or []):
        raise UserError(f"{path!r} uses sliding-window attention ({window} tokens), which the trainer lacks; choose another model")  # fmt: skip  # noqa: E501
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise UserError(f"{path!r} rescales its logits ({name}), which the trainer lacks; choose another model")
