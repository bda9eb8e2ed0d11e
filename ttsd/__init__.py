"""Trains a language model on one hard coding question, at test time, until it solves it.

What is offered here is `ttsd.api`; it is loaded when first asked for, so that the command line starts at once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttsd.api import (
        Answer,
        Attempt,
        Config,
        Event,
        Frames,
        InfrastructureError,
        Preview,
        Problem,
        Step,
        TtsdError,
        UserError,
        Verdict,
        aevents,
        apreview,
        asolve,
        events,
        export,
        load_config,
        preview,
        question,
        read_record,
        solve,
    )

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
    "preview",
    "question",
    "read_record",
    "solve",
]


def __getattr__(name: str) -> object:
    if name == "losses":  # the losses as pure functions, for scripts; loads torch
        from ttsd.training import losses

        return losses
    if name not in __all__:
        raise AttributeError(f"module 'ttsd' has no attribute {name!r}")
    from ttsd import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
