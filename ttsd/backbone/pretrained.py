"""The one place that calls `from_pretrained`: no code that a model's folder brings along is ever run."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ttsd.errors import UserError

Kind = Literal["AutoConfig", "AutoTokenizer", "AutoModelForCausalLM", "AutoModelForImageTextToText", "GenerationConfig"]

_WHAT = {
    "AutoConfig": "configuration",
    "AutoTokenizer": "tokenizer",
    "AutoModelForCausalLM": "model",
    "AutoModelForImageTextToText": "model",
    "GenerationConfig": "generation settings",
}


def pretrained(kind: Kind, path: str, **options: Any) -> Any:
    """Returns what transformers loads from `path`, a folder or a hub name.

    UserError: there is nothing at `path`, nothing that can be read, or only by running code from there.
    """
    if _looks_local(path) and not Path(path).exists():
        raise UserError(
            f"there is no model folder {path!r}; give an existing folder or a Hugging Face name (org/model)"
        )
    loader = getattr(import_module("transformers"), kind)
    try:
        return loader.from_pretrained(path, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        if Path(path).is_dir() and not (Path(path) / "config.json").is_file() and "gguf_file" not in options:
            raise UserError(
                f"the folder {path!r} has no config.json, so it holds no model; check model.path"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it would run code of its own; ttsd runs models that transformers knows"
        named = Path(path, options["gguf_file"]) if "gguf_file" in options else path
        raise UserError(f"can't load the {_WHAT[kind]} of {str(named)!r} ({reason}); check model.path") from error


def _looks_local(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1
