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
from ttsd.config.setting import flat
from ttsd.config.sources import BUNDLED_CONFIG, load_config, recorded_config, shipped_configs

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
    "flat",
    "load_config",
    "recorded_config",
    "shipped_configs",
]
