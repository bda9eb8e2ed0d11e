"""Metrics of a run, step by step, to W&B, TensorBoard or trackio through their own clients. Off by default.

The database stays the record; a tracker sees what a step's row holds, and nothing of prompts, programs or tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ttsd.errors import UserError
from ttsd.nouns import Step

PROJECT = "ttsd"
PACKAGES = {"wandb": "wandb", "tensorboard": "torch.utils.tensorboard", "trackio": "trackio"}


class Tracker(Protocol):
    """Shows curves."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class Nobody:
    """The tracker that nobody asked for."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        return None

    def close(self) -> None:
        return None


class Client:
    """A run of W&B or of trackio: both have `log` and `finish`."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class EventFiles:
    """A folder of TensorBoard's event files."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def check_tracker(kind: str) -> None:
    """Checks the package. UserError: the client of this tracker is not installed."""
    if kind != "none":
        _client(kind)


def open_tracker(kind: str, name: str, facts: Mapping[str, object], folder: Path) -> Tracker:
    """Returns a tracker of `kind` for the run called `name`; `facts` are its settings, `folder` its place for files.

    UserError: the client is not installed.
    """
    if kind == "none":
        return Nobody()
    client = _client(kind)
    openers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: EventFiles(client.SummaryWriter(str(folder / "tensorboard"))),
        "wandb": lambda: Client(
            client.init(project=PROJECT, name=name, config=dict(facts), dir=str(folder), reinit="create_new")
        ),
        "trackio": lambda: Client(client.init(project=PROJECT, name=name, config=dict(facts))),
    }
    return openers[kind]()


def _client(kind: str) -> Any:
    try:
        return import_module(PACKAGES[kind])
    except ImportError:
        raise UserError(f"store.track={kind} needs its client: pip install {kind}, or set store.track=none") from None


def step_values(step: Step) -> dict[str, float]:
    """Returns what a tracker receives of a step: its metrics and seconds, and how its attempts fared."""
    fractions = [attempt.verdict.visible_fraction for attempt in step.attempts]
    return {
        **step.metrics,
        **{f"seconds/{name}": seconds for name, seconds in step.seconds.items()},
        "attempts": float(step.attempts[-1].number),
        "visible_fraction/mean": sum(fractions) / len(fractions),
        "visible_fraction/best": max(fractions),
        "discovered": float(step.discovery is not None),
    }
