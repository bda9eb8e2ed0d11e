"""What a GGUF file says and transformers does not read: rope factors, and all tokens that end an answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ttsd.errors import UserError

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_ENDS = ("eos", "eot", "eom")
_SAME = 1e-3  # relative distance of equal factors
_LLAMA3 = [
    {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 8192}
    for factor in (8.0, 32.0)
]  # fmt: skip


def check_whole(file: Path) -> None:
    """Checks the parts. UserError: `file` is one part of a model that was split."""
    part = _PART.search(file.name)
    if part and int(part[1]) > 1:
        raise UserError(
            f"{str(file)!r} is one of {int(part[1])} parts of a model; join them with `llama-gguf-split --merge`"
        )


class GgufFacts:
    """The metadata of one file."""

    def __init__(self, file: Path) -> None:
        """Reads it. UserError: the file can't be read."""
        from gguf import GGUFReader

        try:
            self._reader = GGUFReader(file)
        except Exception as error:  # a stranger's file: the reader raises whatever it stumbles over
            raise UserError(f"can't load the model of {str(file)!r} ({error}); check model.path") from error
        self._file = file

    def end_ids(self) -> list[int]:
        """Returns the tokens that end an answer."""
        found = [self._value(f"tokenizer.ggml.{name}_token_id") for name in _ENDS]
        return [int(token) for token in found if token is not None]

    def apply_rope(self, config: Any) -> None:
        """Sets the rope scaling that the file's factors describe. UserError: they are of no known kind."""
        tensors = {tensor.name: tensor.data for tensor in self._reader.tensors if tensor.name.startswith("rope_f")}
        if "rope_freqs.weight" in tensors:
            config.rope_parameters = {**config.rope_parameters, **self._llama3(config, tensors["rope_freqs.weight"])}
        if "rope_factors_long.weight" in tensors:
            kind = self._value("general.architecture")
            config.rope_parameters = {
                **config.rope_parameters,
                "rope_type": "longrope",
                "long_factor": [float(value) for value in tensors["rope_factors_long.weight"]],
                "short_factor": [float(value) for value in tensors["rope_factors_short.weight"]],
                "original_max_position_embeddings": int(self._value(f"{kind}.rope.scaling.original_context_length")),
            }

    def _llama3(self, config: Any, factors: Any) -> dict[str, Any]:
        """Returns the settings of Llama 3's scaling that divide the plain frequencies by `factors`."""
        import torch
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        plain = dict(config.rope_parameters)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        base = plain["rope_theta"] ** -(torch.arange(0, size, 2) / size)
        wanted = torch.tensor([float(value) for value in factors])
        for settings in _LLAMA3:
            config.rope_parameters = {**plain, **settings}
            found, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
            if len(found) == len(wanted) and bool(((base / found - wanted).abs() <= _SAME * wanted).all()):
                return settings
        raise UserError(f"{str(self._file)!r} has rope factors of an unknown kind; give the model's folder instead")

    def _value(self, name: str) -> Any:
        field = self._reader.get_field(name)
        return None if field is None else field.contents()
