"""Settings: which there are (`sections`, `model`), how one is read (`setting`), where a configuration comes from."""

from ttsd.config.model import BUNDLED_MODEL, Model
from ttsd.config.sections import Budget, Config, Endpoint, Lora, Store
from ttsd.config.setting import expanded, flat
from ttsd.config.sources import layered, load_config, recorded_config, shipped_configs

__all__ = [
    "BUNDLED_MODEL",
    "Budget",
    "Config",
    "Endpoint",
    "Lora",
    "Model",
    "Store",
    "expanded",
    "flat",
    "layered",
    "load_config",
    "recorded_config",
    "shipped_configs",
]
