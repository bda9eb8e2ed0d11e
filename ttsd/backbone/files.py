"""A model's sizes, and folders that appear whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttsd.backbone.pretrained import pretrained
from ttsd.errors import UserError

# Files that transformers looks for, in its order.
_LOADED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def model_sizes(path: str, revision: str | None = None) -> dict[str, Any]:
    """Returns what the model's config.json says, without loading weights. UserError as for loading the model."""
    return sizes_of(pretrained("AutoConfig", path, **({} if revision is None else {"revision": revision})))


def sizes_of(config: Any) -> dict[str, Any]:
    """Returns what a model's configuration says of the language model, which may be a part of the whole.

    Sizes that it has under names of its own (GPT-2's n_head) are there under the usual ones too.
    """
    text = config.get_text_config(decoder=True)
    names = (*text.attribute_map, "num_hidden_layers")  # Nemotron-H counts its layers from their types
    usual = {name: getattr(text, name) for name in names if hasattr(text, name)}
    return {**config.to_dict(), **text.to_dict(), **usual}


def own_length(sizes: Mapping[str, Any]) -> int:
    """Returns how many tokens a model of these sizes takes; dynamic scaling extends what it was trained for.

    UserError: that is no number which a length can be.
    """
    rope = sizes.get("rope_parameters") or {}
    factor = rope.get("factor", 1.0) if rope.get("rope_type") == "dynamic" else 1.0
    named = sizes.get("max_position_embeddings") or sizes.get("max_seq_len") or 1 << 20
    try:
        length = int(named * factor)
    except (TypeError, ValueError, OverflowError):
        length = 0
    if not 0 < length < 1 << 40:
        raise UserError(
            f"the model's config.json gives it a length of {named} tokens, scaled by {factor}; correct "
            "max_position_embeddings and rope_parameters there"
        )
    return length


def check_tokenizer_files(path: str) -> None:
    """Checks that a model's folder holds a tokenizer. UserError: it doesn't."""
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("tokenizer*")) and (folder / "config.json").is_file():
        raise UserError(
            f"the folder '{folder.absolute()}' has no tokenizer files; copy tokenizer.json and its settings of the "
            "model there"
        )


def check_weight_files(path: str) -> None:
    """Checks that a model's folder holds weights, each file to its end. UserError: it doesn't."""
    from safetensors import SafetensorError, safe_open

    folder = Path(path)
    if folder.is_dir() and not any((folder / name).is_file() for name in _LOADED):
        raise UserError(
            f"the folder '{folder.absolute()}' has no weights (model.safetensors, or model.safetensors.index.json with "
            "its parts); fetch the model again, or check model.path"
        )
    for file in filter(Path.is_file, sorted(folder.glob("*.safetensors"))):
        try:
            with safe_open(file, "numpy"):  # reads the header only, and compares it with the file's size
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"can't read the weights {str(file.absolute())!r} ({error}); fetch them again") from None
    if missing := sorted(name for name in named_parts(folder) if not (folder / name).exists()):
        raise UserError(f"the folder '{folder.absolute()}' lacks {missing[0]} of its weights; fetch the model again")


def named_parts(folder: Path) -> set[str]:
    """Returns the files that the index of the weights names, where there is one that can be read."""
    found = [name for name in _LOADED if (folder / name).is_file()]
    index = folder / (_LOADED[1] if _LOADED[1] in found else "".join(found[:1]))  # vLLM reads the former where it is
    if index.suffix != ".json":
        return set()
    try:
        parts = json.loads(index.read_bytes())["weight_map"].values()
        return {name for name in parts if isinstance(name, str)}
    except (ValueError, KeyError, AttributeError, TypeError, OSError, RecursionError):  # the loader says what is wrong
        return set()


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Returns a draft folder that takes the place of `folder` when the block ends well, and else vanishes."""
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
