"""The tables of a report, as a spreadsheet takes them: names in a run database are never formulas."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.synthetic import World, populate
from ttsd.record.store import Store
from ttsd.reporting.report import TABLES, build_report


@pytest.mark.slow
def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    names = [
        '=cmd|"/c calc"!A1',
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r\n=1",
        " =1",
        "\uff1d1",
        "\x00=1",
        "\ufeff=1",
        "1=1",
    ]
    with Store(tmp_path / "a.sqlite") as store:
        populate(store, {name: {"sdpo": 0.5, "best-of-k": 0.5} for name in names}, World(seeds=1, budget=8))
        build_report(store, tmp_path / "report")
    files = list((tmp_path / "report").glob("*.csv"))
    assert len(files) == len(TABLES)
    texts = set()
    for file in files:
        with file.open(encoding="utf-8", newline="") as stream:
            texts |= {cell for row in csv.DictReader(stream) for name, cell in row.items() if name == "question"}
    assert texts == {f"'{name}" for name in names[:-1]} | {"1=1"}
