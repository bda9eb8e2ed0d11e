"""`ttsd report`: the database as a page, a figure, tables and a few rows for the terminal.

Made from counts, never from completions, and from nothing but the database: twice the same is byte for byte the same.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ttsd.errors import UserError
from ttsd.record.store import Row, Store
from ttsd.reporting.report.findings import Findings, find
from ttsd.reporting.report.record import read
from ttsd.terminal import json_text, readable

TABLES = ("methods", "comparisons", "questions", "runs", "pooled_curves", "question_curves", "learning")
HEADERS = {"comparisons": ("method", "against", "questions", "k", "difference", "p")}  # even where nothing is compared


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the report is, and what a terminal can say of it."""

    html: Path
    json: Path
    summary: list[Row]  # one row a method
    verdicts: list[str]  # one sentence a pair of methods: what the numbers support
    unconfirmed: list[str]  # a sentence on discoveries that no hidden case confirms, if there are any


def build_report(store: Store, out_dir: Path) -> ReportFiles:
    """Writes the report of everything in `store` into `out_dir`. UserError: the folder can't be written."""
    from ttsd.reporting.report.page import render, sentence, unconfirmed

    record = read(store)
    findings = find(record)
    texts = {"report.html": render(store, record, findings), "report.json": _json(findings)}
    texts |= {f"{name}.csv": _csv(getattr(findings, name), HEADERS.get(name, ())) for name in TABLES}
    contents = {name: text.encode() for name, text in texts.items()} | _figure(record.methods, findings)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out_dir / name).write_bytes(content)
    except OSError as error:
        raise UserError(f"can't write the report to {out_dir} ({error.strerror}); choose another folder") from None
    return ReportFiles(
        html=out_dir / "report.html",
        json=out_dir / "report.json",
        summary=[_summary(row) for row in findings.methods],
        verdicts=[sentence(row) for row in findings.comparisons],
        unconfirmed=unconfirmed(findings),
    )


def _summary(row: Row) -> Row:
    from ttsd.reporting.report.page import number, percent, span

    return {
        "method": row["method"],
        "questions": f"{row['questions_discovered']}/{row['questions']}",
        "runs": f"{row['runs_discovered']}/{row['runs']}",
        f"discovery@{row.get('k', 'k')}": percent(row.get("discovery")),
        "90 % interval": span(row.get("discovery_low"), row.get("discovery_high"), share=True),
        "mean attempts": number(row.get("capped_mean_attempts")),
        "visible only": row["visible_only_attempts"],
        "attempts": number(row["attempts"]),
        "tokens": number(row["prompt_tokens"] + row["completion_tokens"]),
    }


def _figure(methods: Sequence[str], findings: Findings) -> dict[str, bytes]:
    from ttsd.reporting.report.figures import discovery_chart, static_images

    rows = [row for row in findings.pooled_curves if row["cost"] == "attempts"]
    if not rows:
        return {}
    svg, png = static_images(discovery_chart(methods, "attempts", width=640), rows)
    return {"discovery.svg": svg.encode(), "discovery.png": png}


def _json(findings: Findings) -> str:
    return json_text(asdict(findings), indent=1) + "\n"


def _csv(rows: Sequence[Row], header: Sequence[str]) -> str:
    """Returns `header`: the columns where there may be no row."""
    names = list(dict.fromkeys([*header, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Returns a cell that a spreadsheet takes for text: one that begins like a formula gets an apostrophe first."""
    if not isinstance(value, str):
        return value
    seen = unicodedata.normalize("NFKC", readable(value)).lstrip("\ufffd \t\n")
    return f"'{value}" if seen.startswith(("=", "+", "-", "@")) else value
