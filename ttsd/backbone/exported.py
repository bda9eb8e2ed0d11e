"""What transformers and PEFT compute from an exported folder, to compare with what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch  # noqa: TID253

from ttsd.backbone.base import loading_options
from ttsd.backbone.files import own_length, sizes_of
from ttsd.backbone.packing import Tokens
from ttsd.backbone.pretrained import pretrained
from ttsd.backbone.rope import fix_rope
from ttsd.backbone.weights import load_weights


def plain_model(
    path: str,
    adapter: Path | None = None,
    *,
    dtype: str,
    device: str,
    quantize: Literal["none", "nf4"] = "none",
    max_model_len: int | None = None,
) -> Any:
    """Returns the model of transformers at `path`, with PEFT's adapter of the folder `adapter`, as a user loads it."""
    from peft import PeftModel

    model = load_weights(path, **loading_options(dtype, device, quantize)).eval()
    fix_rope(model, max_model_len or own_length(sizes_of(model.config)))
    return model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).eval()


@torch.no_grad()
def plain_logprobs(model: Any, tokens: Tokens, temperature: float) -> list[float]:
    """Returns the log-probability of each of `tokens` but the first, by transformers' own forward pass."""
    ids = torch.tensor([tokens], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float() / temperature
    found: list[float] = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].tolist()
    return found


def write_merged(model: Any, path: str, folder: Path) -> None:
    """Writes `model` with its adapter added to the weights, and the tokenizer of `path`, as a model folder."""
    model.merge_and_unload().save_pretrained(folder)
    pretrained("AutoTokenizer", path).save_pretrained(folder)
