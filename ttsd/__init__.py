"""Trains a language model on one hard coding question, at test time, until it solves it.

The names of `ttsd.api`, and `ttsd.losses` (the losses as pure functions of tensors, which loads torch), are loaded at
their first use, so that the command line starts at once.
"""

# ruff: noqa: F403, F405 (each name is in __all__)

TYPE_CHECKING = False  # that of `typing`, which is not in memory yet: see search_path
if TYPE_CHECKING:
    from ttsd.api import *
    from ttsd.training import losses

__all__ = [
    "Answer",
    "Attempt",
    "Config",
    "Event",
    "Frames",
    "InfrastructureError",
    "Preview",
    "Problem",
    "Step",
    "TtsdError",
    "UserError",
    "Verdict",
    "aevents",
    "apreview",
    "asolve",
    "events",
    "export",
    "load_config",
    "losses",
    "preview",
    "question",
    "read_record",
    "solve",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ttsd' has no attribute {name!r}")
    if name == "losses":
        from ttsd.training import losses

        return losses
    from ttsd import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
