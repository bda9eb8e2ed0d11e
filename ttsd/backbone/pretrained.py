"""The one place that calls `from_pretrained`: no code that a model's folder brings along is ever run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ttsd.errors import UserError

Kind = Literal["AutoConfig", "AutoTokenizer", "AutoModelForCausalLM", "AutoModelForImageTextToText", "GenerationConfig"]

MAX_TEXT_BYTES = 64 << 20
_ADAPTER = "adapter_config.json"

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
    local = path.startswith(("/", ".", "~")) or path.count("/") > 1
    if local and not Path(path).exists():
        raise UserError(
            f"there is no model folder '{Path(path).absolute()}'; give an existing folder or a Hugging Face name "
            "(org/model)"
        )
    if Path(path).is_file():
        raise UserError(
            f"'{Path(path).absolute()}' is a file that holds no model; give a folder with config.json, a GGUF file or "
            "a Hugging Face name (org/model)"
        )
    _check_files(Path(path))
    loader = getattr(import_module("transformers"), kind)
    try:
        found = loader.from_pretrained(path, trust_remote_code=False, **options)
    except Exception as error:  # a stranger's folder: transformers raises whatever it stumbles over
        if Path(path).is_dir() and not (Path(path) / "config.json").is_file() and "gguf_file" not in options:
            raise UserError(
                f"the folder '{Path(path).absolute()}' has no config.json, so it holds no model; {_instead(Path(path))}"
            ) from error
        lines = str(error).split("\n")
        reason = lines[0].strip() or type(error).__name__
        if reason.endswith(":"):  # what is wrong with it is in the next line
            reason += f" {lines[1].strip()}" if lines[1:] else ""
        if "weights_only" in reason:
            reason = "a file of it is none of PyTorch's, or holds more than weights, which could run code"
        if "trust_remote_code" in str(error):
            reason = "it would run code of its own; ttsd runs models that transformers knows"
        named = in_full(str(Path(path, options["gguf_file"])) if "gguf_file" in options else path)
        raise UserError(f"can't load the {_WHAT[kind]} of {named!r} ({reason}); check model.path") from error
    if kind == "AutoConfig" and _asks_for_kernels(found):
        raise UserError(
            f"the configuration of {path!r} asks for attention from a hub, which would run code from there; take "
            "attn_implementation out of its config.json"
        )
    return found


def in_full(path: str) -> str:
    """Returns the full path of a file or folder; a name on the hub as it is."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _instead(folder: Path) -> str:
    """Returns what to name in place of a folder without a model."""
    if (folder / _ADAPTER).is_file():
        return "it is an adapter: name the model that it was made for, and give this folder as lora.init"
    if folder.name.startswith("models--"):
        return f"name a folder in its snapshots, or the model on the hub, {'/'.join(folder.name.split('--')[1:])!r}"
    return "check model.path"


def _check_files(folder: Path) -> None:
    """Checks the files. UserError: one is a pipe, a device or a broken link, or too large, or of an adapter.

    transformers would put the adapter's layers into the model, and vLLM would not.
    """
    if (folder / _ADAPTER).is_file() and (folder / "config.json").is_file():
        raise UserError(
            f"the folder '{folder.absolute()}' holds a model and an adapter; move {_ADAPTER} and the adapter's weights "
            "to a folder of their own, and give that as lora.init if it is wanted"
        )
    for file in folder.glob("*"):
        if not file.is_file() and not file.is_dir():
            raise UserError(f"{str(file)!r} is no plain file; take it out of the model's folder, or put a copy there")
        if file.suffix in (".json", ".jinja", ".txt", ".model") and file.stat().st_size > MAX_TEXT_BYTES:
            raise UserError(f"{str(file)!r} is larger than {MAX_TEXT_BYTES >> 20} MiB; choose another model.path")


def _asks_for_kernels(config: Any) -> bool:
    """Tells whether transformers would fetch attention, which is code, from the place that a configuration names."""
    parts = [config, *(part for part in vars(config).values() if hasattr(part, "_attn_implementation"))]
    return any("/" in str(getattr(part, "_attn_implementation", "")) for part in parts)
