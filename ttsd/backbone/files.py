"""What can go wrong when a model is loaded, and folders that appear whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttsd.errors import UserError


def model_sizes(path: str) -> dict[str, Any]:
    """Returns what the model's config.json says, without loading weights. UserError as for loading the model."""
    from transformers import AutoConfig

    return dict(loaded("configuration", path, lambda: AutoConfig.from_pretrained(path)).to_dict())


def loaded(what: str, path: str, load: Callable[[], Any]) -> Any:
    """Returns what `load` gives; UserError where there is nothing at `path`, or nothing that can be read."""
    if _looks_local(path) and not Path(path).exists():
        raise UserError(
            f"there is no model folder {path!r}; give an existing folder or a Hugging Face name (org/model)"
        )
    try:
        return load()
    except (OSError, ValueError, ImportError, json.JSONDecodeError) as error:
        if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
            raise UserError(
                f"the folder {path!r} has no config.json, so it holds no model; check model.path"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"can't load the {what} of {path!r} ({reason}); check model.path") from error


def _looks_local(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1


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
