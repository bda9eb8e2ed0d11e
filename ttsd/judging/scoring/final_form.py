r"""Tells whether an answer is worked out: `\int_0^1 x^2 dx` restates a question whose answer is `1/3`.

What a final answer may hold is listed here, and everything that the right answer itself holds may be in it, too.
Anything else, known to the parser or not, is still to be worked out, or to be chosen from (`5 \approx 6`).
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|mathbb|mathcal|mathsf|operatorname|mbox)\s*\{[^{}]*\}"
    r"|\\[A-Za-z]+|\\.|[A-Za-z]+|[0-9]+|\s+|.",
    re.DOTALL,
)
_DERIVATIVE = re.compile(r"\\[dtc]?frac\s*\{\s*(?:d|\\partial)[^{}]*\}\s*\{\s*(?:d|\\partial)|\bd\s*/\s*d[A-Za-z]")
_LAYOUT = r"\left \right \big \Big \bigl \bigr \Bigl \Bigr \displaystyle \textstyle \quad \qquad \, \! \; \: \ "
_ARITHMETIC = (
    r"\frac \dfrac \tfrac \cfrac \cdot \times \div \sqrt \pm \mp \pi \infty \emptyset \circ \degree \% \$ \{ \} "
    r"\lvert \rvert"
)
_GREEK = (
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa \lambda \mu \nu \xi "
    r"\rho \sigma \tau \upsilon \phi \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Phi \Psi \Omega"
)
_FINAL = frozenset(f"{_LAYOUT} {_ARITHMETIC} {_GREEK}".split()) | frozenset("+-*/^_()[]{}|,.%°−×·±πθ∞ ") | {"\\ "}
# Where the right answer has one of a group, an answer may have another: a tangent, or sine and cosine.
_TRIGONOMETRY = r"\sin \cos \tan \sec \csc \cot \arcsin \arccos \arctan \sinh \cosh \tanh \log \ln \lg \exp"
_ORDER = r"< > \le \leq \ge \geq \lt \gt ≤ ≥"
_FUNCTIONS = frozenset(_TRIGONOMETRY.split()) | frozenset(_TRIGONOMETRY.replace("\\", "").split())
_GROUPS = (_FUNCTIONS, frozenset(_ORDER.split()))
_WORDS = (
    "abs argmax argmin binom ceil choose comb det dim factorial floor gcd gcf hcf int integral lcm lim limit max min "
    "mod perm prod product rank round sum tr trace"
)
_OPERATORS = frozenset(_WORDS.split())
_ONE_BY_ONE = r"+ - − * / ^ × · ( | \frac \dfrac \tfrac \cfrac \cdot \times \div \sqrt \pm ±"
_TO_WORK_OUT = frozenset(_ONE_BY_ONE.split())

_PASSED_OVER = frozenset(":;'\"?@#~`")
_NAMES = ("\\text", "\\mbox", "\\mathrm", "\\mathbf", "\\mathsf", "\\operatorname")


def unfinished(given: str, expected: str, *, closed_forms: bool) -> str:
    """Returns what in `given` is no part of a final answer, empty if there is nothing.

    `closed_forms`: logarithms and the like may be in it, whatever the right answer looks like.
    """
    known = set(_TOKEN.findall(expected))
    allowed = [group for group in _GROUPS if not known.isdisjoint(group)] + [_FUNCTIONS] * closed_forms
    token: str
    for token in _TOKEN.findall(given):
        if token not in known and not _is_final(token) and not any(token in group for group in allowed):
            return token
    derivative = _DERIVATIVE.search(given)
    return derivative[0] if derivative and not _DERIVATIVE.search(expected) else ""


def first_operation(text: str) -> str:
    """Returns the first arithmetic operation in `text`, which one number does not need; empty where there is none."""
    tokens = _TOKEN.findall(text.strip().lstrip("+-−"))
    return next((token for token in tokens if token in _TO_WORK_OUT), "")


def unreadable(text: str) -> bool:
    """Tells whether `text` holds what the LaTeX parser passes over in silence, or ends at."""
    return any(token in _PASSED_OVER or token.startswith(_NAMES) for token in _TOKEN.findall(text))


def letters(text: str) -> set[str]:
    """Returns the letters and Greek letters that may be variables in `text`; e and i may be constants."""
    tokens = _TOKEN.findall(text)
    plain = {letter for token in tokens if token.isalpha() for letter in token}
    return (plain | {token for token in tokens if token in _GREEK.split()}) - {"e", "i", "π"}


def _is_final(token: str) -> bool:
    if token.isascii() and token.isalnum():
        return token.casefold() not in _OPERATORS and token not in _FUNCTIONS
    return token.isspace() or token in _FINAL
