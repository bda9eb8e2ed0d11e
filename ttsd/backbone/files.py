"""A model's sizes, and folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttsd.backbone.pretrained import pretrained
from ttsd.errors import UserError


def model_sizes(path: str, revision: str | None = None) -> dict[str, Any]:
    """Returns what the model's config.json says, without loading weights. UserError as for loading the model."""
    options = {} if revision is None else {"revision": revision}
    return dict(pretrained("AutoConfig", path, **options).to_dict())


def check_tokenizer_files(path: str) -> None:
    """Checks that a model's folder holds a tokenizer. UserError: it doesn't."""
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("tokenizer*")) and (folder / "config.json").is_file():
        raise UserError(
            f"the folder '{folder.absolute()}' has no tokenizer files; copy tokenizer.json and its settings of the "
            "model there"
        )


def check_weight_files(path: str) -> None:
    """Checks that a model's folder holds weights. UserError: it doesn't."""
    folder = Path(path)
    if folder.is_dir() and not any(one for kind in ("*.safetensors", "*.bin") for one in folder.glob(kind)):
        raise UserError(
            f"the folder '{folder.absolute()}' has no weights (model.safetensors); fetch the model again, or check "
            "model.path"
        )


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
