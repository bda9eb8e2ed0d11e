"""Settings: which there are (`sections`, `model`), how one is read (`setting`), where a configuration comes from."""

from ttsd.config.model import BUNDLED_MODEL, Model
from ttsd.config.sections import (
    Budget,
    Config,
    Distillation,
    Endpoint,
    Extensions,
    JudgeSection,
    Lora,
    Reprompt,
    Sampling,
    Store,
    Teacher,
)
from ttsd.config.setting import expanded, flat
from ttsd.config.sources import BUNDLED_CONFIG, layered, load_config, recorded_config, shipped_configs

__all__ = [
    "BUNDLED_CONFIG",
    "BUNDLED_MODEL",
    "Budget",
    "Config",
    "Distillation",
    "Endpoint",
    "Extensions",
    "JudgeSection",
    "Lora",
    "Model",
    "Reprompt",
    "Sampling",
    "Store",
    "Teacher",
    "expanded",
    "flat",
    "layered",
    "load_config",
    "recorded_config",
    "shipped_configs",
]
