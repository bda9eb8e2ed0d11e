"""One attempt as a page: what was read, answered, said and learnt, token by token where scores are given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ttsd.reporting.attempt import AttemptView
from ttsd.reporting.report.page import code_style, environment, highlighted, template_text
from ttsd.reporting.show import attempt_line, loss_line, run_line
from ttsd.reporting.token_scores import Token

FULL_COLOUR = 2.0  # nats of difference at which a token's colour is full


def attempt_page(view: AttemptView, tokens: Sequence[Token] = (), weights: str = "") -> str:
    """A self-contained HTML page. `tokens` are coloured by teacher minus student, or by how unlikely they were."""
    scored = any(token.gain is not None for token in tokens)
    html: str = environment().get_template("attempt.html.jinja").render(
        view=view,
        title=run_line(view.run),
        line=attempt_line(view.rollout),
        loss=loss_line(view.steps, view.rollout.step),
        program=highlighted(view.rollout.program) if view.rollout.program else "",
        tokens=[{"text": token.text, "style": _style(token), "hint": _hint(token)} for token in tokens],
        scored=scored,
        weights=weights,
        full=FULL_COLOUR,
        style=template_text("style.css"),
        code_style=code_style(),
    )  # fmt: skip
    return html


def _style(token: Token) -> str:
    """Green: the teacher finds it likelier than the student; red: less likely, or unlikely when sampled."""
    value = token.gain if token.gain is not None else token.sampler
    if not math.isfinite(value):
        value = -FULL_COLOUR
    share = min(abs(value) / FULL_COLOUR, 1.0)
    colour = "42, 157, 143" if value > 0 else "209, 73, 91"
    return f"background: rgba({colour}, {0.75 * share:.2f})" if share >= 0.01 else ""


def _hint(token: Token) -> str:
    known = {"sampler": token.sampler, "student": token.student, "teacher": token.teacher, "difference": token.gain}
    return ", ".join(f"{name} {value:.3f}" for name, value in known.items() if value is not None)
