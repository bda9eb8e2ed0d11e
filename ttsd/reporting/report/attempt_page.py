"""One attempt as a page: prompt, answer, feedback and the teacher's prompt, token by token where scores are given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ttsd.record.store import Row
from ttsd.reporting.attempt import AttemptView
from ttsd.reporting.report.page import code_style, environment, highlighted, template_text
from ttsd.reporting.show import attempt_line, loss_line, prompt_title, run_line
from ttsd.reporting.token_scores import Token

FULL_COLOUR = 2.0  # nats of difference at which a token's colour is full


def attempt_page(view: AttemptView, tokens: Sequence[Token]) -> str:
    """Writes a self-contained HTML page. `tokens` are coloured by their advantage, or by how unlikely they were."""
    html: str = environment().get_template("attempt.html.jinja").render(
        view=view,
        title=run_line(view.run),
        prompt_title=prompt_title,
        line=attempt_line(view.attempt),
        loss=loss_line(view.steps, view.attempt.step),
        program=highlighted(view.attempt.program) if view.attempt.program else "",
        **coloured(tokens),
        style=template_text("style.css"),
        code_style=code_style(),
    )  # fmt: skip
    return html


def coloured(tokens: Sequence[Token]) -> Row:
    """Returns what `tokens.html.jinja` shows: each token with its side, the strength of its colour and its numbers."""
    return {
        "tokens": [{"text": token.text, "hint": _hint(token), **_colour(token)} for token in tokens],
        "scored": any(token.advantage is not None for token in tokens),
        "full": FULL_COLOUR,
    }


def _colour(token: Token) -> Row:
    """Returns the side (up: likelier for the teacher; down: less likely, or unlikely when sampled) and the strength."""
    value = token.advantage if token.advantage is not None else token.sampler
    if not math.isfinite(value):
        value = -FULL_COLOUR
    percent = round(100 * min(abs(value) / FULL_COLOUR, 1.0))
    return {"side": ("up" if value > 0 else "down") if percent else "", "percent": percent}


def _hint(token: Token) -> str:
    moved = "" if token.advantage is None else f"teacher - student {token.advantage:+.3f}, "
    return f"{moved}sampled at {token.sampler:.3f}"
