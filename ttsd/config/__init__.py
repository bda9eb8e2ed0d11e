"""Settings: which there are (`sections`), how one is read (`setting`), where a configuration comes from (`sources`)."""

from ttsd.config.sections import (
    BUNDLED_MODEL,
    UNRECORDED,
    Budget,
    Config,
    Distillation,
    JudgeSection,
    Lora,
    Model,
    Reprompt,
    Sampling,
    Store,
    Teacher,
)
from ttsd.config.sources import BUNDLED_CONFIG, load_config, recorded_config, shipped_configs

__all__ = [
    "BUNDLED_CONFIG",
    "BUNDLED_MODEL",
    "UNRECORDED",
    "Budget",
    "Config",
    "Distillation",
    "JudgeSection",
    "Lora",
    "Model",
    "Reprompt",
    "Sampling",
    "Store",
    "Teacher",
    "load_config",
    "recorded_config",
    "shipped_configs",
]
