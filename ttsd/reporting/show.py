"""Attempts and steps as text for a terminal. What a model or a program wrote never steers the terminal."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ttsd.config import Config, recorded_config
from ttsd.judging.feedback import readable
from ttsd.nouns import Attempt
from ttsd.record.store import Row
from ttsd.reporting.alarms import alarms
from ttsd.reporting.attempt import AttemptView, StepView

SHORT = 40  # characters of a setting's value


def attempt_text(view: AttemptView) -> str:
    """The attempt for a terminal: what was read, answered, said and learnt, under headings."""
    rollout = view.rollout
    parts = [run_line(view.run), attempt_line(rollout)]
    parts += [f"({view.remark})"] if view.remark else []
    sections = {
        "its author read": view.asked,
        "the student read": view.student_prompt,
        "the answer": rollout.completion.text,
        "the tests said": rollout.verdict.feedback or "(no feedback)",
        "the teacher read": view.teacher_prompt,
    }
    parts += [f"--- {title} ---\n{readable(text.rstrip())}" for title, text in sections.items() if text]
    return "\n\n".join([*parts, loss_line(view.steps, rollout.step)])


def step_text(view: StepView) -> str:
    """The step's numbers for a terminal; its attempts are rows of their own."""
    own = next((row for row in view.steps if row["step"] == view.step), None)
    lines = [run_line(view.run), f"step {view.step}: {len(view.attempts)} attempts"]
    if own is None:
        return "\n".join([*lines, "not finished"])
    numbers = {**(own["metrics"] or {}), **{f"seconds/{k}": v for k, v in (own["seconds"] or {}).items()}}
    lines += [f"{name:24} {value:.4g}" for name, value in sorted(numbers.items()) if value is not None]
    return "\n".join([*lines, loss_line(view.steps, view.step)])


def difference_text(before: Attempt, after: Attempt) -> str:
    """What changed from one attempt's program to the other's; of the answers, where one of them has no program."""
    both = before.program is not None and after.program is not None
    old, new = ((one.program or "") if both else one.completion.text for one in (before, after))
    first, second = f"attempt {before.attempt}", f"attempt {after.attempt}"
    changed = list(difflib.unified_diff(old.splitlines(), new.splitlines(), first, second, n=len(old), lineterm=""))
    heads = [attempt_line(before), attempt_line(after)]
    return readable("\n".join([*heads, "", *(changed or ["both are the same"])]))


def run_text(row: Row, steps: Sequence[Row] = ()) -> str:
    """Above a run's attempts: what it is, when it was started, settings that aren't the defaults, alarms of `steps`."""
    config, plain = recorded_config(row["config"]).model_dump(), Config().model_dump()
    changed = [
        f"{section}.{name}={_short(value)}"
        for section, settings in config.items()
        for name, value in settings.items()
        if section != "store" and value != plain[section][name]
    ]
    lines = [
        run_line(row),
        f"model {row['model']}, started {row['created'][:16].replace('T', ' ')} UTC, "
        f"budget {config['budget']['attempts']} attempts",
        f"settings: {', '.join(changed) or 'the defaults'}",
        *(f"warning: {alarm}" for alarm in learning_alarms(steps)),
    ]
    return readable("\n".join(lines))


def learning_alarms(steps: Sequence[Row]) -> list[str]:
    """The alarms that a run's steps raise, where it learns."""
    metrics = (step["metrics"] or {} for step in steps)
    return alarms([one for one in metrics if "updated" in one or "restarted" in one])


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def run_line(row: Row) -> str:
    found = row["discovery_attempt"]
    end = row["status"] if found is None else f"discovered at attempt {found}"
    return f"run {row['run']}: {row['question']}, {row['method']}, seed {row['seed']}, {end}"


def attempt_line(rollout: Attempt) -> str:
    verdict, completion = rollout.verdict, rollout.completion
    return (
        f"attempt {rollout.attempt}, step {rollout.step}, adapter version {completion.adapter_version}: "
        f"{verdict.status.value.replace('_', ' ')}, visible {verdict.visible_passed}/{verdict.visible_total}, "
        f"hidden {verdict.hidden_passed}/{verdict.hidden_total}; {completion.prompt_tokens} tokens read, "
        f"{len(completion.token_ids)} answered ({completion.finish_reason})"
        f"{', drawn under a reprompt' if rollout.role == 'teacher' else ''}"
    )


def loss_line(steps: Sequence[Row], step: int) -> str:
    """How the loss moved around `step`, which is marked."""
    parts = [
        f"{'>' if row['step'] == step else ''}step {row['step']} {row['loss']:.4g}"
        for row in steps
        if row["loss"] is not None
    ]
    return f"loss: {', '.join(parts)}" if parts else "loss: no gradient step here"
