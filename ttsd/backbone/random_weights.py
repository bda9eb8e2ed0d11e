"""A model of a given shape whose weights are drawn, to measure a machine by: nothing has to be downloaded for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch  # noqa: TID253

from ttsd.backbone.model_folder import resolve
from ttsd.errors import UserError

_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_random_model(sizes: Mapping[str, Any], tokenizer_from: str, folder: Path, dtype: str) -> None:
    """Writes a model with the config.json `sizes` into `folder`.

    Its tokenizer is that of the folder `tokenizer_from`, or the bundled model's where that has none.
    UserError: transformers knows no such kind of model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "model_type" not in sizes:
        raise UserError("the model's config.json has no model_type; give model.path a folder with a whole config.json")
    try:
        config = AutoConfig.for_model(**dict(sizes))
        config.dtype = getattr(torch, dtype)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(config, dtype=config.dtype)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"transformers makes no model of type {sizes['model_type']!r} ({error}); choose another model.path"
        ) from error
    model.save_pretrained(folder)
    del model
    texts = Path(tokenizer_from)
    source = texts if (texts / "tokenizer.json").is_file() else Path(resolve("micro"))
    for name in _TEXT_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
