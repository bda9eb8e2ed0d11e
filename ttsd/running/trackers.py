"""Metrics and attempts of a run, step by step, to W&B, TensorBoard or trackio through their own clients.

Off by default. The database stays the record; a tracker sees numbers and verdicts, answers on request, and never tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ttsd.config import Store
from ttsd.errors import UserError
from ttsd.nouns import Step

PROJECT = "ttsd"
PACKAGES = {"wandb": "wandb", "tensorboard": "torch.utils.tensorboard", "trackio": "trackio"}


@dataclass(frozen=True, slots=True)
class Tracker:
    """Shows curves; as it stands it is the tracker that nobody asked for."""

    log: Callable[[Step], object] = lambda step: None
    close: Callable[[], object] = lambda: None


def check_tracker(kind: str) -> None:
    """Checks the package. UserError: the client of this tracker is not installed."""
    if kind != "none":
        _client(kind)


def open_tracker(settings: Store, name: str, tracker_id: str, facts: Mapping[str, object], folder: Path) -> Tracker:
    """Returns the tracker that `settings` name for the run called `name`.

    `tracker_id` is the same whenever the run is resumed, so the tracker goes on with its curves. `facts` are the run's
    settings, `folder` its place for files. UserError: the client is not installed.
    """
    if settings.track == "none":
        return Tracker()
    client = _client(settings.track)
    if settings.track == "tensorboard":
        writer = client.SummaryWriter(str(folder / "tensorboard"))
        return Tracker(partial(_add_scalars, writer), writer.close)
    options = {"project": PROJECT, "config": dict(facts), "resume": "allow"}
    if settings.track == "wandb":
        place = str(folder.absolute())  # a process that runs in another folder may write there
        run = client.init(name=name, id=tracker_id, dir=place, reinit="create_new", **options)
    else:
        run = client.init(name=f"{name} {tracker_id}", **options)  # trackio finds a run by its name
    return Tracker(partial(_log_table, run, client.Table, text=settings.track_text), run.finish)


def _add_scalars(writer: Any, step: Step) -> None:
    for name, value in step_values(step).items():
        writer.add_scalar(name, value, step.number)


def _log_table(run: Any, table: Callable[..., Any], step: Step, *, text: bool) -> None:
    rows = attempt_rows(step, text=text)
    attempts = table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
    run.log({**step_values(step), "attempt_table": attempts}, step=step.number)


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


def attempt_rows(step: Step, *, text: bool) -> list[dict[str, object]]:
    """Returns the table of a step's attempts; with the model's answers if `text`."""
    return [
        {
            "attempt": attempt.number,
            "step": step.number,
            "verdict": attempt.verdict.status.value,
            "share": attempt.verdict.visible_fraction,
            "tokens": attempt.completion.tokens,
            **({"answer": attempt.completion.text} if text else {}),
        }
        for attempt in step.attempts
    ]
