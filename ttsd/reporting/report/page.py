"""The report as one HTML file that needs nothing else: template, style, script, data and charts in one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from ttsd.config import flat
from ttsd.record.store import Row, Store
from ttsd.reporting.report import figures
from ttsd.reporting.report.charts import discovery_charts, grouped, learning_charts
from ttsd.reporting.report.findings import Findings
from ttsd.reporting.report.record import COSTS, Tally

FEEDBACK_SHOWN = 3
MOST_COLOURED = 50_000  # characters of a program
SETTINGS_LEFT_OUT = "store."


def render(store: Store, record: Tally, findings: Findings) -> str:
    """Returns the whole page."""
    html: str = (
        environment()
        .get_template("report.html.jinja")
        .render(
            findings=findings,
            record=record,
            verdicts=[sentence(row) for row in findings.comparisons],
            unconfirmed=unconfirmed(findings),
            unsolved=[row for row in _by_question(findings) if not row["solved"]],
            by_question=_by_question(findings),
            several=[row["question"] for row in _by_question(findings) if row["several"]],
            discoveries=discoveries(store, record),
            settings=settings({number: row["config"] for number, row in record.rows.items()}),
            environments=settings({number: {"environment": row["environment"]} for number, row in record.rows.items()}),
            costs=[cost for cost in COSTS if any(row["cost"] == cost for row in findings.pooled_curves)],
            data=_data(record, findings),
            panels=list(figures.PANELS),
            code_style=code_style(),
            vega=figures.scripts().replace("</script", "<\\/script"),
            style=template_text("style.css"),
            script=template_text("charts.js") + template_text("page.js"),
        )
    )
    return html


def unconfirmed(findings: Findings) -> list[str]:
    """Returns a sentence on the discoveries that no hidden case confirms, if there are any."""
    found = [row for row in findings.runs if row["discovery_attempt"] is not None]
    weak = sum(not row["hidden_cases"] for row in found)
    text = f"{weak} of {len(found)} discoveries passed visible cases only: their questions have no hidden cases."
    return [text] if weak else []


def sentence(row: Row) -> str:
    """Returns what a comparison supports, in words: never more than its interval."""
    one, other = row["method"], row["against"]
    if not row["questions"]:
        return f"{one} and {other} have no question in common, so they can't be compared."
    if row["questions"] == 1:
        return f"{one} and {other} were compared on one question only: nothing can be said about others."
    if row["difference_low"] is None:
        return (
            f"{one} and {other} can't be distinguished: "
            f"at k = {row['k']} they agree on all {row['questions']} questions."
        )
    gap, low, high = row["difference"], row["difference_low"], row["difference_high"]
    size = f"{100 * gap:+z.1f} points at k = {row['k']} (90 % interval {100 * low:+z.1f} to {100 * high:+z.1f}, "
    size += f"sign-flip p = {row['p']:.2g}; {row['questions']} questions, better on {row['questions_better']}, "
    size += f"worse on {row['questions_worse']})"
    if low > 0 or high < 0:
        winner, loser = (one, other) if gap > 0 else (other, one)
        does, doubt = ("discovers", "") if row["p"] < 0.1 else ("may discover", " (flipping signs does not confirm it)")
        return f"{winner} {does} more than {loser}{doubt}: {one} minus {other} is {size}."
    return f"{one} and {other} can't be distinguished: {one} minus {other} is {size}."


def settings(configs: Mapping[int, Mapping[str, Any]]) -> list[Row]:
    """Returns every setting once: its value where all runs agree, else each value with the runs that have it."""
    values: dict[str, dict[str, list[int]]] = {}
    for run, config in configs.items():
        for name, value in flat(config).items():
            if not name.startswith(SETTINGS_LEFT_OUT):
                shown = value if isinstance(value, str) else json.dumps(value)
                values.setdefault(name, {}).setdefault(shown, []).append(run)
    return [
        {
            "name": name,
            "differs": len(found) > 1,
            "choices": [{"value": v, "runs": _ranges(r)} for v, r in found.items()],
        }
        for name, found in sorted(values.items())
    ]


def discoveries(store: Store, record: Tally) -> dict[int, Row]:
    """Returns each discovered run's program, highlighted, and the feedback of the attempts just before."""
    found = {run.run: run.discovery for run in record.runs if run.discovery is not None}
    return {
        run: {"program": highlighted(_program(store, record, run, attempt)), "feedback": _feedback(store, run, attempt)}
        for run, attempt in found.items()
    }


def highlighted(program: str) -> str:
    """Returns Python source as HTML, escaped; without colours where they would take seconds."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer, TextLexer

    lexer = PythonLexer() if len(program) <= MOST_COLOURED else TextLexer()
    html: str = highlight(program, lexer, HtmlFormatter(cssclass="code", wrapcode=True))
    return html


def code_style() -> str:
    """Colours of highlighted code on light and on dark ground."""
    from pygments.formatters import HtmlFormatter

    light, dark = (
        HtmlFormatter(style=name, cssclass="code").get_style_defs(".code")  # type: ignore[no-untyped-call]
        for name in ("default", "github-dark")
    )
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _program(store: Store, record: Tally, run: int, attempt: int) -> str:
    kept: str | None = record.rows[run]["program"]
    if kept is None:
        ((kept,),) = store.query("select program from attempts where run = ? and attempt = ?", [run, attempt])
    return kept or ""


def _feedback(store: Store, run: int, attempt: int) -> list[Row]:
    """Returns the most frequent feedback texts of the latest step before the discovery's."""
    sql = """select feedback, count(*) as times, min(attempt) from attempts
        where run = ?1 and feedback != '' and step = (select max(step) from attempts where run = ?1 and step < (
            select step from attempts where run = ?1 and attempt = ?2))
        group by feedback order by times desc, min(attempt) limit ?3"""
    rows = store.query(sql, [run, attempt, FEEDBACK_SHOWN])
    return [{"text": text, "times": times, "attempt": first} for text, times, first in rows]


def _by_question(findings: Findings) -> list[Row]:
    """Returns the rows of each question together."""
    return [
        {"question": q, "solved": rows[0]["solved_by_any"], "several": rows[0]["several_answers"], "rows": rows}
        for q, rows in grouped(findings.questions).items()
    ]


def _data(record: Tally, findings: Findings) -> Row:
    discovery = discovery_charts(record.methods, findings.pooled_curves, findings.question_curves)
    learning = learning_charts(record.curves)
    return {**discovery, **learning, "specs": discovery["specs"] | learning["specs"]}


def _ranges(numbers: Sequence[int]) -> str:
    """Writes 1, 2, 3, 7 as "1-3, 7"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def template_text(name: str, package: str = "ttsd.reporting.report") -> str:
    """Returns one of a page's parts."""
    return (resources.files(package) / "templates" / name).read_text("utf-8")


def environment(*packages: str) -> Any:
    """Templates that escape what they are given, and the filters for numbers; those of `packages` go before."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader(name) for name in (*packages, "ttsd.reporting.report")])
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"percent": percent, "number": number, "span": span}
    return jinja


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """Writes a number in three significant digits, thousands apart."""
    if value is None:
        return "–"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def span(low: float | None, high: float | None, *, share: bool = False) -> str:
    """Returns an interval; an end that is not bounded is said to be so."""
    if low is None and high is None:
        return ""
    show = (lambda value: f"{100 * value:.1f}") if share else number
    return f"{show(low) if low is not None else '0'} to {show(high) if high is not None else '∞'}"
