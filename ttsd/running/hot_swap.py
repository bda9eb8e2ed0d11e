"""`ttsd doctor --hot-swap`: starts the configured engine and swaps an adapter, before a run depends on it."""

from __future__ import annotations

from ttsd.config import Config
from ttsd.errors import TtsdError
from ttsd.machine.doctor import Finding
from ttsd.running.engine import load_tokenizer, open_engine


async def hot_swap(config: Config) -> Finding:
    """Starts the configured engine and sees whether a non-zero adapter changes what it samples, as it should."""
    if not config.model.local:
        return Finding("adapter hot-swap", False, f"{config.model.path} is an endpoint, which takes no adapters")
    try:
        async with open_engine(config, load_tokenizer(config)) as engine:
            return Finding("adapter hot-swap", True, f"{config.model.sampler} and trainer agree {engine.agreement}")
    except TtsdError as error:
        return Finding("adapter hot-swap", False, str(error))
