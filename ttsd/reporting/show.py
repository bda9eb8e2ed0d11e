"""Attempts and steps as text for a terminal. What a model or a program wrote never controls the terminal."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ttsd.config import BUNDLED_MODEL, Config, flat, load_config
from ttsd.judging.feedback import clip
from ttsd.nouns import Attempt, Prompt
from ttsd.record.protocol import unconfirmed
from ttsd.record.store import Row
from ttsd.reporting.alarms import alarms
from ttsd.reporting.attempt import AttemptView, StepView
from ttsd.terminal import one_line, readable

MAX_SHOWN = 1 << 20  # characters of a text
SHORT = 40  # characters of a setting's value
MOST_COMPARED = 2000  # lines of a text: the time for a comparison grows faster than their number


def attempt_text(view: AttemptView) -> str:
    """Writes the attempt for a terminal: prompt, answer, feedback and the teacher's prompt, under headings."""
    attempt, teacher = view.attempt, view.example.teacher if view.example else None
    sections = {
        prompt_title("prompt", attempt.prompt): attempt.prompt.text,
        "answer": attempt.completion.text,
        "feedback": attempt.verdict.feedback or "(none)",
        "hint": attempt.hint.text if attempt.hint else "",
    }
    if teacher is not None:
        sections[prompt_title("self-teacher's prompt", teacher)] = teacher.text
    parts = [run_line(view.run), attempt_line(attempt)]
    parts += [
        f"--- {title} ---\n{readable(clip(text.rstrip(), MAX_SHOWN))}" for title, text in sections.items() if text
    ]
    return "\n\n".join([*parts, loss_line(view.steps, attempt.step)])


def prompt_title(what: str, prompt: Prompt) -> str:
    """Says which earlier attempts a prompt shows."""
    attempts = f"attempt{'s' * (len(prompt.shows) > 1)} {', '.join(map(str, prompt.shows))}"
    return f"{what}, shows {attempts}" if prompt.shows else what


def step_text(view: StepView) -> str:
    """Writes the step's numbers for a terminal; its attempts are rows of their own."""
    own = next((row for row in view.steps if row["step"] == view.step), None)
    lines = [run_line(view.run), f"step {view.step}: {len(view.attempts)} attempts"]
    if own is None:
        return "\n".join([*lines, "not finished"])
    numbers = {**(own["metrics"] or {}), **{f"seconds/{k}": v for k, v in (own["seconds"] or {}).items()}}
    lines += [
        f"{name:{max(map(len, numbers), default=0)}}  {value:.4g}"
        for name, value in sorted(numbers.items())
        if value is not None
    ]
    return "\n".join([*lines, loss_line(view.steps, view.step)])


def difference_text(before: Attempt, after: Attempt) -> str:
    """Writes what changed from one attempt's program to the other's, or of the answers where one has no program."""
    both = before.program is not None and after.program is not None
    old, new = ((one.program or "") if both else one.completion.text for one in (before, after))
    changed = changed_lines(old, new, f"attempt {before.number}", f"attempt {after.number}")
    heads = [attempt_line(before), attempt_line(after)]
    return readable("\n".join([*heads, "", *(changed or ["both are the same"])]))


def changed_lines(old: str, new: str, first: str = "", second: str = "") -> list[str]:
    """Returns all lines of both after three of heading, marked with space, minus or plus; nothing where none differs.

    Of a very long text only the beginning is compared.
    """
    one, other = _beginning(old), _beginning(new)
    return list(difflib.unified_diff(one, other, first, second, n=2 * MOST_COMPARED, lineterm=""))


def _beginning(text: str) -> list[str]:
    lines = text.splitlines()
    return lines if len(lines) <= MOST_COMPARED else [*lines[:MOST_COMPARED], "... (more lines)"]


def run_text(row: Row, steps: Sequence[Row] = ()) -> str:
    """Writes what stands above a run's attempts: what it is, settings that aren't the defaults, alarms of `steps`."""
    config, usual = row["config"], load_config(BUNDLED_MODEL) if row["model"] == BUNDLED_MODEL else Config()
    plain = flat(usual.model_dump(exclude={"method", "store"}))
    own = flat({name: value for name, value in config.items() if name not in ("method", "store")})
    changed = [f"{place}={_short(value)}" for place, value in own.items() if value != plain.get(place)]
    lines = [
        run_line(row),
        one_line(
            f"model {row['model']}, started {row['created'][:16].replace('T', ' ')} UTC, "
            f"budget {config['budget']['attempts']} attempts"
        ),
        one_line(f"settings: {', '.join(changed) or 'the defaults'}"),
        *(f"warning: {alarm}" for alarm in learning_alarms(steps)),
    ]
    return "\n".join(lines)


def learning_alarms(steps: Sequence[Row]) -> list[str]:
    """Returns the alarms that a run's steps raise, where it learns."""
    metrics = (step["metrics"] or {} for step in steps)
    return alarms([one for one in metrics if "updated" in one or "returned_to" in one])


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def run_line(row: Row) -> str:
    """Says in one line which run this is and how it stands."""
    found = row["discovery_attempt"]
    cases = (len((row["split"] or {}).get(name, ())) for name in ("visible", "hidden"))
    end = row["status"] if found is None else f"discovered at attempt {found}{unconfirmed(*cases)}"
    label = f" ({row['label']})" if row["label"] else ""
    return one_line(f"run {row['run']}{label}: {row['question']}, {row['method']}, seed {row['seed']}, {end}")


def attempt_line(attempt: Attempt) -> str:
    """Says in one line how an attempt went."""
    verdict, completion = attempt.verdict, attempt.completion
    score = "" if verdict.score is None else f", score {verdict.score:.3g}"
    hidden = f"hidden {verdict.hidden_passed}/{verdict.hidden_total}" if verdict.hidden_total else "no hidden cases"
    return (
        f"attempt {attempt.number}, step {attempt.step}, adapter version {completion.adapter_version}: "
        f"{verdict.status.value.replace('_', ' ')}, visible {verdict.visible_passed}/{verdict.visible_total}, "
        f"{hidden}{score}; prompt of {attempt.prompt_tokens} tokens, "
        f"answer of {completion.tokens} ({completion.finish_reason})"
        f"{f', ${attempt.dollars:.3g}' if attempt.dollars else ''}"
        f"{', sampled with feedback' if attempt.prompt.shows else ''}"
    )


def loss_line(steps: Sequence[Row], step: int) -> str:
    """Says how the loss moved around `step`, which is marked."""
    parts = [
        f"{'>' if row['step'] == step else ''}step {row['step']} {row['loss']:.4g}"
        for row in steps
        if row["loss"] is not None
    ]
    return f"loss: {', '.join(parts)}" if parts else "loss: no gradient step here"
