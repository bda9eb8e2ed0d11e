"""One table of methods: a cell is its row and its column, and nothing else compares names."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import ttsd
from tests.commands import ttsd as command
from tests.fakes import settings
from tests.records import attempt, run_of
from ttsd.errors import UserError
from ttsd.examples import rewards
from ttsd.methods import METHODS, NOTHING, QUESTION, REWARDS, Column, Method, Row, method_named, methods_named
from ttsd.nouns import Attempt, Example, History, Prompt
from ttsd.prompts import PromptWriter
from ttsd.record.store import Store
from ttsd.reporting.report import build_report
from ttsd.reporting.report.record import read

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


def test_names_follow_from_rows_and_columns() -> None:
    rows = {method.row.reads for method in METHODS.values()}
    columns = {method.column.learns for method in METHODS.values()}
    assert {(method.row.reads, method.column.learns) for method in METHODS.values()} == {
        (row, column) for row in rows for column in columns
    }
    assert [name for name, method in METHODS.items() if method.iid] == ["best-of-k"]
    assert [name for name, method in METHODS.items() if not method.learns] == ["multi-turn", "search", "best-of-k"]
    assert METHODS["sdpo"].description == "reads the question; learns from the self-teacher"


def test_rules_follow_from_settings() -> None:
    config = settings(return_to_best=True).changed("sampling", group_size=3, pipeline="one-step-off")
    rules = METHODS["sdpo"].rules(config.changed("budget", attempts=7))
    assert (rules.group_size, rules.budget, rules.one_step_off, rules.guarded) == (3, 7, True, True)
    assert all(method.rules(config).guarded == method.learns for method in METHODS.values())
    assert [method.at_once(config) for method in METHODS.values()] == [3, 3, 3, 3, 3, 3, 1, 3, 3]
    assert [method.at_once(settings()) for method in METHODS.values()] == [16, 16, 16, 16, 16, 16, 1, 4, 16]


def test_a_search_samples_whole_sets_of_siblings() -> None:
    known = (0, 4, 15, 16, 32, 47, 48, 400)
    frozen, learning = METHODS["search"].rules(settings()), METHODS["search+grpo"].rules(settings())
    assert [frozen.next_round(count, 16) for count in known] == [4] * 8
    assert [learning.next_round(count, 16) for count in known] == [4, 4, 4, 4, 8, 8, 12, 16]
    assert learning.next_round(400, 6) == 6


def test_an_unknown_method_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"no method 'sdp' \(did you mean 'sdpo'\?\); choose one of sdpo, multi-turn"):
        method_named("sdp")
    with pytest.raises(UserError, match="'ppo'"):
        methods_named("sdpo, ppo")
    assert [method.name for method in methods_named("grpo, sdpo")] == ["grpo", "sdpo"]
    assert methods_named("all") == list(METHODS.values())


def test_the_command_lists_the_table() -> None:
    listed = json.loads(command("methods", "--json").stdout)
    assert [row["method"] for row in listed] == list(METHODS)
    assert all(name in command("methods").stdout for name in METHODS)


def test_variants_are_named_by_what_differs(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        plain = ttsd.load_config("micro")
        short = plain.changed("extensions", history_length=2)
        for method, config in (("multi-turn", plain), ("multi-turn", short), ("best-of-k", short)):
            store.add_attempt(store.new_run(run_of(method=method, config=config), {}), attempt(1))
        assert [run.method for run in read(store).runs] == [
            "multi-turn (extensions.history_length=6)",
            "multi-turn (extensions.history_length=2)",
            "best-of-k",
        ]


def last_program(writer: PromptWriter, count: int, history: History) -> Sequence[Prompt]:
    """A row of the test's own: the question with the newest attempt that failed."""
    failed = [one for one in history.current if one.verdict.feedback]
    return [writer.with_feedback("last", failed[-1:]) if failed else writer.question] * count


def halved(writer: PromptWriter, group: Sequence[Attempt], history: History) -> Sequence[Example]:
    """A column of the test's own: rewards of every other attempt."""
    return rewards(writer, group[::2], history)


@pytest.mark.slow
def test_a_cell_of_ones_own_runs_resumes_and_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("the question and the last failure", last_program, waits=True)
    own = Method("last+halved", row, Column("half", halved))
    monkeypatch.setitem(METHODS, own.name, own)

    def solved(attempts: int) -> ttsd.Answer:
        wanted = [
            "model.sampler=transformers", "sampling.group_size=4", f"budget.attempts={attempts}",
            "budget.continue_after_discovery=true", "extensions.reward=visible-fraction",
            f"store.path={tmp_path / 'a.sqlite'}", f"method={own.name}",
        ]  # fmt: skip
        return ttsd.solve("micro:numbers:4:3", ttsd.load_config("micro", wanted))

    assert (solved(6).attempts, solved(14).run) == (6, 1)
    with Store.read_only(tmp_path / "a.sqlite") as store:
        attempts = store.attempts(1)
        assert [one.number for one in attempts] == list(range(1, 15))
        shown = {one.prompt.shows for one in attempts[1:] if one.prompt.row == "last"}
        assert shown
        assert all(len(shows) == 1 for shows in shown)
        assert store.query("select count(*) from examples where reward is not null") == [
            (7,)
        ]  # groups of 4, 2, 4 and 4
        files = build_report(store, tmp_path / "report")
    assert [row["method"] for row in files.summary] == [own.name]
    assert own.name in files.html.read_text("utf-8")


def test_a_cell_needs_no_more_than_a_row_and_a_column() -> None:
    assert Method("x", QUESTION, REWARDS).learns
    assert Method("x", QUESTION, NOTHING).iid
