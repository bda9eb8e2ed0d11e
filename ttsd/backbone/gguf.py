"""What a GGUF file says and transformers does not read: rope factors, and all tokens that end an answer."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

from ttsd.errors import UserError

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_ENDS = ("eos", "eot", "eom")
_MAX_ITEMS = 4 << 20  # of all arrays and tensors of a header: eight times those of the largest vocabularies
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of the plain kinds of value
_TEXT, _ARRAY = 8, 9
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


def check_header(file: Path) -> None:
    """Checks what a file says of itself, whose counts the package gguf believes. UserError: they are absurd."""
    try:
        with file.open("rb") as stream:
            magic, version, tensors, values = struct.unpack("<4sIQQ", stream.read(24))
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError("it is no GGUF file of version 2 or 3, little-endian")
            left = _MAX_ITEMS - tensors - values
            while values and left >= 0:
                _pass_text(stream)
                left -= _pass_value(stream)
                values -= 1
            if left < 0 or stream.tell() > file.stat().st_size:
                raise ValueError("its header claims more than a file can hold")
    except (ValueError, OSError, struct.error) as error:
        raise UserError(f"can't load the model of {str(file)!r} ({error}); check model.path") from None


def _pass_text(stream: BinaryIO) -> None:
    stream.seek(min(_number(stream, "Q"), 1 << 40), 1)


def _pass_value(stream: BinaryIO) -> int:
    """Passes over a value; returns how many items it has."""
    kind, count = _number(stream, "I"), 1
    if kind == _ARRAY:
        kind, count = _number(stream, "I"), _number(stream, "Q")
    if count > _MAX_ITEMS or (kind != _TEXT and kind not in _SIZES):
        raise ValueError("its header holds no plain values, or too many")
    if kind == _TEXT:
        for _ in range(count):
            _pass_text(stream)
    else:
        stream.seek(_SIZES[kind] * count, 1)
    return count


def _number(stream: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", stream.read(struct.calcsize(kind)))[0])


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
