"""One table of methods: labels are the same wherever a run is shown, and no other module compares names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.records import rollout
from ttsd.config import load_config, recorded_config
from ttsd.errors import UserError
from ttsd.methods import METHODS, method_named
from ttsd.record.store import Store
from ttsd.reporting.report.record import read
from ttsd.running.tasks import plan

PACKAGE = Path(__file__).parents[1] / "ttsd"


def compared(tree: ast.AST) -> list[str]:
    """Strings that a comparison or a `match` looks for."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found += [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            found.append(node.value)
    return [str(leaf.value) for one in found for leaf in ast.walk(one) if isinstance(leaf, ast.Constant)]


def test_no_module_compares_the_name_of_a_method() -> None:
    assert compared(ast.parse('x = method == "sdpo"')) == ["sdpo"]
    guilty = {
        str(file.relative_to(PACKAGE)): names
        for file in PACKAGE.rglob("*.py")
        if (names := set(METHODS) & set(compared(ast.parse(file.read_text("utf-8")))))
    }
    assert guilty == {}


def test_a_method_is_called_the_same_in_progress_and_report(tmp_path: Path) -> None:
    planned = plan(["q"], ["sdpo", "multi-turn"], 1, load_config("micro-cpu"), [2], [0.0, 0.25])
    with Store(tmp_path / "a.sqlite") as store:
        for wanted in planned:
            run = store.new_run(
                question="q", method=wanted.job.method, seed=0, model="m", config=wanted.config.model_dump(),
                split={}, environment={},
            )  # fmt: skip
            store.add_attempt(run, rollout(1))
        labels = [run.method for run in read(store).runs]
    assert labels == ["sdpo", "sdpo (teacher draws 25%)", "multi-turn (window 2)"]
    assert [str(wanted) for wanted in planned] == [f"q {label} seed 0" for label in labels]


def test_a_record_older_than_the_setting_has_its_default() -> None:
    assert [method.label(recorded_config({})) for method in METHODS.values()] == list(METHODS)


def test_an_unknown_method_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"'ppo'.*best-of-k"):
        method_named("ppo")
