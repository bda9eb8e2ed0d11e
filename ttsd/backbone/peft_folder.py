"""What PEFT makes of an adapter's folder: the layers that it finds again, and a check that it finds all of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn  # noqa: TID253

from ttsd.backbone.lora import LoraShape
from ttsd.backbone.pretrained import pretrained
from ttsd.backbone.weights import model_class
from ttsd.errors import InfrastructureError


def keeps_target(model: Any, name: str) -> bool:
    """Tells whether PEFT looks for layers of that name where they are.

    In some mixtures of experts it takes the names of dense layers for those of experts, so these get no adapter; nor
    does a layer of Mamba whose weight the model reads without calling the layer, as PEFT's adapter does nothing there.
    """
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    if name == "dt_proj":
        return False
    if get_checkpoint_conversion_mapping(model.config.model_type) is None:
        return True  # PEFT changes no names of such a model, and its import takes seconds
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:
        return False
    return list(config.target_modules) == [name]


def peft_config(model: Any, shape: LoraShape, layers: Collection[str], path: str) -> dict[str, object]:
    """Returns what adapter_config.json says. `layers`: of the model, by their whole names.

    PEFT finds them by their last names, or by whole ones where other layers have those names too. It is not asked for
    the rest, its defaults, because its import takes seconds in every command that learns.
    """
    alike = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Module) and name.rpartition(".")[2] in shape.target_modules
    }
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": path,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(layers) if alike - set(layers) else list(shape.target_modules),
        "inference_mode": True,
    }


def check_loads(folder: Path, path: str) -> None:
    """Checks the names. InfrastructureError: PEFT finds other layers than those in `folder`, on the model at `path`.

    The model is built without weights, so this takes seconds whatever its size.
    """
    import torch
    import transformers
    from peft import PeftModel
    from safetensors import safe_open

    with torch.device("meta"):
        model = getattr(transformers, model_class(path)).from_config(
            pretrained("AutoConfig", path), trust_remote_code=False
        )
        adapted = PeftModel.from_pretrained(model, str(folder), low_cpu_mem_usage=True)
    found = {name.replace(".default.", ".") for name, _ in adapted.named_parameters() if ".lora_" in name}
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as tensors:
        written = set(tensors.keys())
    if found != written:
        odd = sorted(found ^ written)
        raise InfrastructureError(
            f"PEFT would load another adapter from {str(folder)!r}: {odd[0]} differs; report this"
        )
