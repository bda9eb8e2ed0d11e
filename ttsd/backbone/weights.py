"""A model's weights: all there, in the model's shapes and finite, or refused; and the digest that a run records."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch  # noqa: TID253

from ttsd.backbone.files import named_parts
from ttsd.backbone.pretrained import Kind, pretrained
from ttsd.errors import UserError

_OF_A_MODEL = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
_BEGINNING, _PLACES, _AT_A_PLACE = 1 << 20, 64, 1 << 16  # bytes of a file that its digest reads
_UNPACKS = {"fp8": "FineGrainedFP8Config", "mxfp4": "Mxfp4Config"}  # classes of transformers
_PLAIN = {"F16", "BF16", "F32", "F64"}  # types of safetensors whose numbers are what they say
_NO_WORDS = re.compile("Classification|Reward|QuestionAnswering|MaskedLM")
_NAMED = 3  # tensors that a message names


def load_weights(path: str, **options: Any) -> Any:
    """Returns the causal language model at `path`. `options`: of transformers' `from_pretrained`.

    transformers would fill what is missing with random numbers. Weights in 8 or 4 bits become those that the layers
    compute in.
    UserError: a tensor is missing, has another shape than the model's, or holds a number that is not finite; weights
    are quantised in a way that can't be learned on, or are said to be tied and differ; or it is no language model.
    """
    import transformers

    of_gguf = "gguf_file" in options
    packed = None if of_gguf else _packed(path, options)
    if packed is not None:
        options["quantization_config"] = getattr(transformers, _UNPACKS[packed["quant_method"]])(dequantize=True)
    kind: Kind = "AutoModelForCausalLM" if of_gguf else model_class(path)
    model, found = pretrained(kind, path, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    if packed is not None:
        _check_unpacked(model, path, packed)
    if not of_gguf:
        _check_said(model, path)
    named = os.path.join(path, options["gguf_file"]) if of_gguf else path
    if found["missing_keys"]:
        raise UserError(_sentence(named, "lacks weights of the model", sorted(found["missing_keys"])))
    if found["mismatched_keys"]:
        names = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in found["mismatched_keys"])
        raise UserError(_sentence(named, "has weights of other shapes than the model", names))
    broken = [
        name for name, weight in model.named_parameters() if weight.is_floating_point() and not weight.isfinite().all()
    ]
    if broken:
        raise UserError(_sentence(named, "has weights that are not finite numbers", broken))
    return model


def model_class(path: str) -> Kind:
    """Returns the class of transformers that loads the model at `path`.

    One that sees pictures too is loaded whole, as vLLM serves it: its layers have other names in its text part alone.
    """
    import transformers

    whole = type(pretrained("AutoConfig", path)) in transformers.AutoModelForImageTextToText._model_mapping
    return "AutoModelForImageTextToText" if whole else "AutoModelForCausalLM"


@cache
def weights_digest(path: str) -> str:
    """Returns a digest of the weights, the configuration and the tokenizer in the folder `path`.

    It sees each file's size, its beginning (the names and shapes of safetensors) and 64 KiB at 64 places, which takes
    milliseconds: training anywhere in a tensor shows, a single changed number may not. A name on the hub is its own
    digest, with the revision that the cache on this machine holds.
    """
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{_revision(path)}"
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _OF_A_MODEL and file.is_file():
            digest.update(f"{file.name} {file.stat().st_size}\0".encode())
            for part in _samples(file):
                digest.update(part)
    return digest.hexdigest()


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        yield stream.read(_BEGINNING)
        for at in range(_PLACES):
            stream.seek(size * at // _PLACES)
            yield stream.read(_AT_A_PLACE)


def _revision(name: str) -> str:
    return str(getattr(pretrained("AutoConfig", name), "_commit_hash", None) or "unknown")


def _packed(path: str, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns how the weights are quantised where they are unpacked as they are loaded.

    None: they are not, or by bitsandbytes, whose packed ones can be learned on. UserError: nothing here unpacks them.
    """
    packed = getattr(pretrained("AutoConfig", path), "quantization_config", None)
    if not packed or packed.get("quant_method") == "bitsandbytes":
        return None
    if packed.get("quant_method") not in _UNPACKS or "quantization_config" in options:
        raise UserError(
            f"{path!r} holds weights quantised by {packed.get('quant_method')}, which can't be learned on"
            f"{' in four bits' * ('quantization_config' in options)}; name the model that they were made from"
        )
    return dict(packed)


def _check_said(model: Any, path: str) -> None:
    """Checks what the configuration says of the weights. UserError: they are other ones, and vLLM would believe it."""
    said = pretrained("AutoConfig", path)
    if other := [name for name in said.architectures or () if _NO_WORDS.search(name)]:
        raise UserError(f"{path!r} is made as a {other[0]}, which writes no text; choose another model.path")
    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    tied = said.tie_word_embeddings and said.get_text_config().tie_word_embeddings
    if tied and outer is not None and inner.weight.data_ptr() != outer.weight.data_ptr():
        raise UserError(
            f"{path!r} says tie_word_embeddings=true and holds two different matrices; set it to false in config.json, "
            "or take lm_head.weight out of the weights"
        )
    how = getattr(said, "quantization_config", None) or {"quant_method": None}
    if how["quant_method"] in (None, "fp8"):
        _check_numbers(path, how)


def _check_numbers(path: str, packed: Mapping[str, Any]) -> None:
    """Checks the numbers in a folder. UserError: some mean nothing without scales, which are not there or not read."""
    from safetensors import safe_open

    whole = Path(path) / "model.safetensors"
    parts = [whole] if whole.is_file() else [Path(path) / name for name in sorted(named_parts(Path(path)))]
    kinds: dict[str, str] = {}
    for file in (part for part in parts if part.suffix == ".safetensors"):
        with safe_open(file, "pt") as tensors:
            kinds |= {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    for name in (name for name in sorted(kinds) if name.endswith(".weight") and kinds[name] not in _PLAIN):
        if packed["quant_method"] is None or f"{name}_scale_inv" not in kinds:
            raise UserError(_sentence(path, f"holds numbers of type {kinds[name]} without scales for them", [name]))


def _check_unpacked(model: Any, path: str, packed: Mapping[str, Any]) -> None:
    """Gives all unpacked weights the model's precision. UserError: transformers unpacks some of them to other numbers.

    It takes blocks to be of equal sizes, and the last ones of a matrix may be smaller.
    """
    whole = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    kept = packed.get("modules_to_not_convert") or ()
    for name, weight in model.named_parameters():
        blocks = zip(weight.shape[-2:], packed.get("weight_block_size") or (), strict=False)
        odd = weight.dim() > 1 and any(size > block and size % block for size, block in blocks)
        if odd and id(weight) not in whole and not any(part in name for part in kept):
            raise UserError(_sentence(path, "has weights in blocks that transformers unpacks wrongly", [name]))
        if weight.dtype == torch.bfloat16:
            weight.data = weight.data.to(model.dtype)


def _sentence(path: str, fault: str, names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"{path!r} {fault}: {', '.join(listed[:_NAMED])}{more}; fetch the model again, or choose another model.path"
