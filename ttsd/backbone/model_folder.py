"""Finds a model: the bundled one, a folder, a name on the hub, or a GGUF file that is turned into a folder.

A GGUF file, as llama.cpp and Ollama keep models, is read once, through transformers, into the user's cache; the folder
there is named by the file's content, so a renamed copy finds it and a changed file makes another. Its weights become
bfloat16, whatever they were quantised to. Sampler and trainer load the same folder.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ttsd.backbone.files import replacing
from ttsd.backbone.gguf import GgufFacts, check_header, check_whole
from ttsd.backbone.pretrained import pretrained
from ttsd.backbone.weights import load_weights
from ttsd.config import BUNDLED_MODEL
from ttsd.errors import UserError
from ttsd.terminal import say

_LOADED = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]  # files of a model; code and copies are others
_SAME_MATRIX = 0.2  # relative distance of one matrix from itself in two quantisations; of two matrices it is above 1


def resolve(path: str, revision: str | None = None) -> str:
    """Returns the folder of the bundled model for `micro`, that made of a GGUF file; anything else as it is.

    With `revision` it is the folder of that revision in the hub's cache, fetched now if it is not there: whatever loads
    the model, vLLM too, then loads that one.
    UserError: a GGUF file that is not there or can't be read, or no such revision.
    """
    if revision is not None:
        return _revision(path, revision)
    if path == BUNDLED_MODEL:
        return str(resources.files("problems") / "micro" / "model")
    return gguf_folder(path) if path.endswith(".gguf") else path


def _revision(path: str, revision: str) -> str:
    from huggingface_hub import snapshot_download

    if path == BUNDLED_MODEL or path.endswith(".gguf") or Path(path).exists():
        raise UserError(
            f"model.revision={revision} is for models on the hub, and {path!r} is not there; leave it out, or name a "
            "model there (org/model)"
        )
    try:
        return snapshot_download(path, revision=revision, allow_patterns=_LOADED, ignore_patterns=["*/*"])
    except (OSError, ValueError) as error:  # HTTP errors are OSErrors, a name that the hub can't have a ValueError
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"can't fetch revision {revision!r} of {path!r} ({reason}); check model.revision and model.path"
        ) from error


def gguf_folder(path: str) -> str:
    """Returns the folder made of the GGUF file at `path`, made now if it is not yet in the cache.

    UserError: no such file, an architecture that can't be read, or the package gguf is missing.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no GGUF file {path!r}; give an existing file, a model folder or a hub name")
    status = file.stat()
    folder = cached_models() / f"gguf-{_digest(file, status.st_size, status.st_mtime_ns)[:16]}"
    if not (folder / "config.json").is_file():
        _convert(file, folder)
    return str(folder)


def cached_models() -> Path:
    """Returns where folders made of GGUF files are kept: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttsd" / "models"


@cache
def _digest(file: Path, size: int, changed: int) -> str:
    """Returns the digest of the file's content; read once as long as size and time of change stay."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert(file: Path, folder: Path) -> None:
    if find_spec("gguf") is None:
        raise UserError(f'{str(file)!r} needs the package gguf; run `pip install "ttsd[gguf]"`, or give a model folder')
    say(f"turning {file.name} into a model folder, once: {folder}")
    import torch
    from transformers import GgufConfig

    check_whole(file)
    check_header(file)
    facts = GgufFacts(file)
    tokenizer = pretrained("AutoTokenizer", str(file.parent), gguf_file=file.name)
    options = {"dtype": torch.bfloat16, "quantization_config": GgufConfig(dequantize=True)}
    model = load_weights(str(file.parent), gguf_file=file.name, **options)
    _tie(model)
    facts.apply_rope(model.config)
    model.generation_config.eos_token_id = facts.end_ids() or model.generation_config.eos_token_id
    model.config.dtype = torch.bfloat16
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with replacing(folder) as draft:
        tokenizer.save_pretrained(draft)
        model.save_pretrained(draft)


def _tie(model: Any) -> None:
    """Makes one matrix of input and output where the file holds the same twice, the output's less rounded."""
    inner, outer = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if inner is outer or inner.shape != outer.shape:
        return
    distance = (inner.detach().float() - outer.detach().float()).norm() / outer.detach().float().norm()
    if distance < _SAME_MATRIX:
        inner.data = outer.data
        model.config.tie_word_embeddings = True
        model.tie_weights()
