"""The one door to transformers and peft: a frozen base model, its tokenizer, and LoRA adapters for its layers.

An `Adapter` is a question's own LoRA weights in one flat tensor, attached to the layers of the base while in use. So a
hundred questions share one base, switching costs microseconds, and an optimizer, an average or a file handles one
tensor. The files are PEFT's. Dropout is zero and the base never changes.
Not here: losses, optimizers, and what a prompt says.
"""

from __future__ import annotations

import logging
import os

from ttsd.backbone.base import Base, frozen, load_base
from ttsd.backbone.cache import KEPT_PROMPTS_BYTES, Prefixes
from ttsd.backbone.exported import plain_logprobs, plain_model, write_merged
from ttsd.backbone.files import check_weight_files, model_sizes, own_length, replacing
from ttsd.backbone.generation import Generated, check_decodes, generate
from ttsd.backbone.lora import Adapter, LoraShape
from ttsd.backbone.model_folder import resolve
from ttsd.backbone.peft_folder import check_loads
from ttsd.backbone.processor import (
    cpu_computes_bfloat16,
    cpu_threads,
    device_named,
    resolved_dtype,
    return_freed_memory,
)
from ttsd.backbone.tokenizer import Tokenizer
from ttsd.backbone.weights import model_class, weights_digest

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what it warns of is checked here, or concerns other tools

# peft imports bitsandbytes where it is installed, and that says on stderr which of its optional kernels are missing.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__all__ = [
    "KEPT_PROMPTS_BYTES",
    "Adapter",
    "Base",
    "Generated",
    "LoraShape",
    "Prefixes",
    "Tokenizer",
    "check_decodes",
    "check_loads",
    "check_weight_files",
    "cpu_computes_bfloat16",
    "cpu_threads",
    "device_named",
    "frozen",
    "generate",
    "load_base",
    "model_class",
    "model_sizes",
    "own_length",
    "plain_logprobs",
    "plain_model",
    "replacing",
    "resolve",
    "resolved_dtype",
    "return_freed_memory",
    "weights_digest",
    "write_merged",
]
