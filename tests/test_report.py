"""The report: the same twice, sensible on whatever a database holds, fast on a large one, and usable in a browser."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import Tab, chromium, tab
from tests.records import begin
from tests.synthetic import World, populate, populate_much
from ttsd.methods import METHODS
from ttsd.record.store import Store
from ttsd.reporting.alarms import attempt_alarms as alarms
from ttsd.reporting.report import build_report
from ttsd.reporting.report.book import evidence
from ttsd.reporting.report.figures import COLOURS, discovery_chart, static_images
from ttsd.reporting.report.findings import Findings, find
from ttsd.reporting.report.page import sentence
from ttsd.reporting.report.record import COSTS, natural, read
from ttsd.statistics import Pool, Times

HAZARDS = {
    "micro:q2": {"sdpo": 0.2, "multi-turn": 0.05, "best-of-k": 0.03},
    "micro:q10": {"sdpo": 0.1, "multi-turn": 0.02, "best-of-k": 0.02},
    "micro:<b>": {"sdpo": 0.0, "multi-turn": 0.0, "best-of-k": 0.0},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("db") / "a.sqlite")
    populate(store, HAZARDS)
    return store


@pytest.fixture(scope="module")
def findings(store: Store) -> Findings:
    return find(read(store))


def fresh(tmp_path: Path) -> Store:
    return Store(tmp_path / "fresh.sqlite")


def page(store: Store, folder: Path) -> str:
    return build_report(store, folder).html.read_text("utf-8")


# -- numbers ------------------------------------------------------------------------------------------------------


def test_every_run_is_counted_once(store: Store) -> None:
    record = read(store)
    assert len(record.runs) == 27
    rows = store.query("select run, min(case when discovered then attempt end) from attempts group by run")
    assert {run.run: run.discovery for run in record.runs} == dict(rows)
    assert record.questions == ["micro:<b>", "micro:q2", "micro:q10"]
    assert record.methods == ["sdpo", "multi-turn", "best-of-k"]


def test_a_frozen_policy_that_went_on_is_a_pool(store: Store) -> None:
    record = read(store)
    pool = evidence(record.of("micro:q2", "best-of-k"), "attempts")
    hits = store.query(
        "select count(*), sum(discovered) from attempts join runs using (run) "
        "where question = 'micro:q2' and method = 'best-of-k'"
    )
    assert isinstance(pool, Pool)
    assert (pool.attempts, pool.successes) == hits[0]


def test_a_baseline_that_stopped_at_its_discovery_is_no_pool(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"best-of-k": 0.2}}, World(keep_all=False))
        assert isinstance(evidence(list(read(store).runs), "attempts"), Times)


def test_costs_stop_at_the_discovery(store: Store) -> None:
    run = next(run for run in read(store).runs if run.method == "sdpo" and run.discovery)
    ((tokens,),) = store.query(
        "select sum(prompt_tokens + completion_tokens) from attempts where run = ? and attempt <= ?",
        [run.run, run.discovery],
    )
    steps = (run.discovery or 0) // 8 + ((run.discovery or 0) % 8 > 0)
    assert (run.until["tokens"], run.until["seconds"]) == (tokens, 6.0 * steps)


def test_an_unfinished_step_counts_up_to_its_first_gap(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"sdpo": 0.0}}, World(seeds=1, budget=16))
        store._db.execute("delete from attempts where attempt = 11")
        store._db.execute("update attempts set discovered = 1 where attempt = 13")
        (run,) = read(store).runs
        assert (run.attempts, run.discovery) == (10, None)


def test_no_question_is_dropped(findings: Findings) -> None:
    unsolved = [row for row in findings.questions if row["question"] == "micro:<b>"]
    assert len(unsolved) == 3
    assert not any(row["solved_by_any"] for row in unsolved)
    assert findings.common == ("micro:<b>", "micro:q2", "micro:q10")
    assert max(row["discovery"] for row in findings.methods) <= 2 / 3 + 1e-6


def test_counting_never_touches_completions(store: Store) -> None:
    asked: list[str] = []
    store._db.conn.set_trace_callback(asked.append)
    read(store)
    store._db.conn.set_trace_callback(None)
    plans = [row[3] for sql in asked if " attempts" in sql for row in store.query(f"explain query plan {sql}")]
    scans = [plan for plan in plans if plan.split()[:2] in (["SCAN", "attempts"], ["SEARCH", "a"])]
    assert len(scans) >= 3
    assert all("USING COVERING INDEX" in plan for plan in scans)


def test_views_answer_the_usual_questions(store: Store) -> None:
    rows = store.query("select question, runs, discovered, attempts from question_summary where method = 'sdpo'")
    record = read(store)
    for question, runs, discovered, attempts in rows:
        counted = record.of(question, "sdpo")
        assert (runs, discovered) == (len(counted), sum(run.discovery is not None for run in counted))
        assert attempts == sum(run.attempts for run in counted)


@pytest.mark.slow
def test_the_page_shows_what_the_files_have(store: Store, findings: Findings, tmp_path: Path) -> None:
    files = build_report(store, tmp_path)
    written = json.loads(files.json.read_text())
    assert written["pooled_curves"] == findings.pooled_curves
    with (tmp_path / "pooled_curves.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["discovery"]) for row in rows] == [row["discovery"] for row in findings.pooled_curves]
    shown = json.loads(re.search(r'id="data">(.*?)</script>', files.html.read_text(), re.S)[1])  # type: ignore[index]
    assert [row for cost in COSTS for row in shown["pooled"][cost]] == findings.pooled_curves
    assert len(files.verdicts) == 3
    assert (tmp_path / "discovery.svg").is_file()
    assert (tmp_path / "discovery.png").read_bytes().startswith(b"\x89PNG")


def test_words_go_no_further_than_intervals(findings: Findings) -> None:
    for row in findings.comparisons:
        text = sentence(row)
        apart = row["difference_low"] > 0 or row["difference_high"] < 0
        assert ("can't be distinguished" in text) is not apart
    row = findings.comparisons[0] | {"difference": 0.4, "difference_low": 0.1, "difference_high": 0.8}
    assert "may discover more" in sentence(row | {"p": 0.25})
    assert "sdpo discovers more" in sentence(row | {"p": 0.01})
    assert "multi-turn discovers more" in sentence(row | {"difference": -0.4, "difference_high": -0.1, "p": 0.01})


def test_methods_are_compared_at_the_budget_of_a_run(tmp_path: Path) -> None:
    """Three runs of best-of-k are a pool three times as large as what any run was given."""
    with fresh(tmp_path) as store:
        populate(store, {f"q{n}": {"sdpo": 0.5, "best-of-k": 0.02} for n in range(3)}, World(seeds=3, budget=64))
        found = find(read(store))
    assert found.budget == 64
    assert {row["k"] for row in found.comparisons} == {64}
    assert {row["k"] for row in found.questions} == {64}


def test_a_budget_that_ends_the_comparison_is_named_and_not_the_runs_that_went_on(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"sdpo": 1.0}}, World(budget=8))  # each discovers, so its curve has no end
        populate(store, {"q": {"grpo": 0.0}}, World(budget=32))
        found = find(read(store))
    assert (found.budget, found.limited_by) == (8, "the budget of sdpo")


def test_attempts_at_a_share_of_discoveries_are_those_of_the_curve(findings: Findings) -> None:
    """Of three questions one is never solved, so half of all is reached and 80 % is not."""
    for row in findings.methods:
        assert row["attempts_at_80"] is None
    sdpo = findings.methods[0]
    curve = [point for point in findings.pooled_curves if (point["method"], point["cost"]) == ("sdpo", "attempts")]
    below = [point["at"] for point in curve if point["discovery"] < 0.5]
    assert max(below) < sdpo["attempts_at_50"] <= 64
    assert sdpo["attempts_at_50_low"] <= sdpo["attempts_at_50"]


def test_one_method_leaves_a_table_of_comparisons_with_a_header(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"sdpo": 0.0}}, World(seeds=1, budget=16))
        html = build_report(store, tmp_path / "out").html.read_text("utf-8")
    assert (tmp_path / "out" / "comparisons.csv").read_text() == "method,against,questions,k,difference,p\n"
    assert "The question was solved by no method" in html


def test_questions_with_several_right_answers_are_flagged(tmp_path: Path) -> None:
    questions = {name: tmp_path / name for name in ("one", "several")}
    for name, folder in questions.items():
        folder.mkdir()
        told = "If there are multiple answers, print any of them." if name == "several" else "Print the sum."
        (folder / "statement.md").write_text(f"# {name}\n\n{told}\n")
        (folder / "cases.toml").write_text('[[case]]\ninput = "1\\n"\nexpected = "1\\n"\n')
    with fresh(tmp_path) as store:
        populate(store, {str(folder): {"sdpo": 0.0} for folder in questions.values()}, World(seeds=1, budget=8))
        html = page(store, tmp_path / "out")
        rows = {row["question"]: row["several_answers"] for row in find(read(store)).questions}
    assert rows == {str(questions["one"]): False, str(questions["several"]): True}
    assert f"{questions['several']}: the statement seems to allow several right answers" in html


def test_discoveries_that_no_hidden_case_confirms_are_counted(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"a": {"sdpo": 1.0}, "b": {"sdpo": 1.0}, "c": {"sdpo": 0.0}}, World(seeds=1, budget=8))
        store._db.execute("""update runs set split = '{"visible": [0], "hidden": [1]}' where question = 'a'""")
        files, rows = build_report(store, tmp_path / "out"), find(read(store)).runs
    said = "1 of 2 discoveries passed visible cases only: their questions have no hidden cases."
    assert [row["hidden_cases"] for row in rows] == [1, 0, 0]
    assert files.unconfirmed == [said]
    assert said in files.html.read_text("utf-8")
    assert [row["status"] for row in rows] == ["discovered", "discovered", "attempts spent"]  # as `ttsd show` says it


def test_alarms_know_the_failing_signatures() -> None:
    fine = {"visible_fraction": 0.5, "truncated": 0.0, "distinct_programs": 0.9}
    failing = {"visible_fraction": 0.0, "truncated": 0.9, "distinct_programs": 0.1}
    assert alarms([fine] * 9) == []
    assert len(alarms([*[fine] * 3, *[failing] * 3])) == 3
    assert alarms([*[fine] * 8, failing]) == []  # one odd step


def test_alarms_are_raised_for_runs_that_learn(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"sdpo": 0.0, "best-of-k": 0.0}}, World(seeds=1))
        store._db.execute("update attempts set finish_reason = 'length'")
        store._db.execute("update steps set metrics = json_set(metrics, '$.updated', 0) where metrics != '{}'")
        learns, frozen = find(read(store)).runs
    assert "length limit" in learns["alarms"]
    assert "nothing to learn from" in learns["alarms"]
    assert frozen["alarms"] == ""


def test_numbers_in_names_sort_as_numbers() -> None:
    assert sorted(["q10", "q2", "a", ""], key=natural) == ["", "a", "q2", "q10"]


# -- whatever the database holds ----------------------------------------------------------------------------------


def test_an_empty_database_has_a_page(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        assert "no judged attempt" in page(store, tmp_path)
        assert find(read(store)).methods == []


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        begin(store, "q")
        assert "though 1 run was begun" in page(store, tmp_path)


@pytest.mark.parametrize(
    ("hazards", "said"),
    [
        ({"q": {"sdpo": 0.1}}, "one method only"),
        ({"q": {"sdpo": 0.1, "best-of-k": 0.1}}, "on one question only"),
        ({"a": {"sdpo": 0.0, "best-of-k": 0.0}, "b": {"sdpo": 0.0, "best-of-k": 0.0}}, "can&#39;t be distinguished"),
        ({"a": {"sdpo": 0.1}, "b": {"best-of-k": 0.1}}, "have no question in common"),
        ({"a": {"sdpo": 1.0, "multi-turn": 1.0}, "b": {"sdpo": 1.0, "multi-turn": 1.0}}, "can&#39;t be distinguished"),
        ({"a": {"sdpo": 0.1, "best-of-k": 0.1}, "b": {"sdpo": 0.1}}, "1 question that every method attempted, of 2"),
    ],
)
def test_lopsided_databases_have_a_page(hazards: dict[str, dict[str, float]], said: str, tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, hazards)
        assert said in page(store, tmp_path)
        assert len(find(read(store)).methods) == len({method for methods in hazards.values() for method in methods})


def test_half_written_databases_have_a_page(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, HAZARDS, World(seeds=2, budget=32))
        store._db.execute("delete from steps where run % 3 = 0 or step > 2")
        store._db.execute("update runs set status = 'running', discovery_attempt = null, program = null")
        store._db.execute("update attempts set feedback = null, program = null, sample_seconds = null")
        assert "have not ended" in page(store, tmp_path)


def test_two_models_are_two_methods(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate(store, {"q": {"sdpo": 0.1}}, World(model="small"))
        populate(store, {"q": {"sdpo": 0.1}}, World(model="large"))
        assert [row["method"] for row in find(read(store)).methods] == ["sdpo (large)", "sdpo (small)"]


# -- the page ------------------------------------------------------------------------------------------------------


def test_two_reports_are_byte_identical(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_report(store, tmp_path / name)
    files = sorted((tmp_path / "one").iterdir())
    assert len(files) == 11
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_what_a_model_wrote_is_never_markup(store: Store, tmp_path: Path) -> None:
    text = page(store, tmp_path)
    assert "<script>\n\nprint" not in text
    assert "&lt;script&gt;" in text  # the program's comment
    assert "&lt;b&gt;" in text  # the feedback's input
    assert "micro:<b>" not in text


READY = """(() => { const plotted = [...document.querySelectorAll('.chart[data-plotted]:not([hidden])')];
    return plotted.length > 3 && plotted.every((chart) => chart.querySelector('svg')); })()"""
FITS = "document.documentElement.scrollWidth <= innerWidth"
COLUMN = """[...document.querySelectorAll('#runs tbody tr')].filter((row) => !row.hidden)
    .map((row) => row.cells[%d].dataset.value)"""


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
def test_the_page_works_in_a_browser(store: Store, tmp_path: Path) -> None:
    html = build_report(store, tmp_path).html
    with tab(tmp_path / "profile") as page:
        for width in (1280, 390):
            for dark in (False, True):
                page.open(html, width=width, height=5000, dark=dark)
                page.wait(READY)
                assert page.run(FITS), (width, dark)
                assert page.complaints == []
        page.open(html, width=1280)
        _sorts(page)
        _filters(page)
        _shows_values_under_the_pointer(page)
        page.run("location.hash = document.querySelector('details.run:not([hidden])').id")
        page.wait("!!document.querySelector('details.run[open] .chart svg')")
        assert page.complaints == []


def _sorts(page: Tab) -> None:
    page.run("document.querySelectorAll('#runs thead button')[5].click()")
    values = [int(value) for value in page.run(COLUMN % 5)]
    assert values == sorted(values)
    page.run("document.querySelectorAll('#runs thead button')[6].click()")
    page.run("document.querySelectorAll('#runs thead button')[6].click()")
    found = page.run(COLUMN % 6)
    numbers = [int(value) for value in found if value]
    assert numbers == sorted(numbers, reverse=True)
    assert found[-1] == ""  # undiscovered runs come last either way


def _filters(page: Tab) -> None:
    page.run(
        "(() => { const field = document.getElementById('filter'); field.value = 'Q10';"
        "field.dispatchEvent(new Event('input')); })()"
    )
    assert page.run("document.getElementById('shown').textContent") == "1 of 3 questions"
    assert len(page.run(COLUMN % 0)) == 9


def _shows_values_under_the_pointer(page: Tab) -> None:
    page.run("document.querySelector('.pooled').scrollIntoView()")
    page.wait("!!document.querySelector('.pooled .chart svg')")
    x, y = page.run(
        "(() => { const box = document.querySelector('.pooled .chart svg').getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    shown = "(document.querySelector('#vg-tooltip-element.visible') || {}).textContent"
    for step in range(3):
        page.point_at(x + step, y)
    page.wait(shown)
    assert "discovery" in page.run(shown)


@pytest.mark.slow
def test_a_million_attempts_take_seconds(tmp_path: Path) -> None:
    with fresh(tmp_path) as store:
        populate_much(store, questions=40, seeds=5, attempts=1667)
        path = store.path
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom ttsd.record.store import Store\n"
        "from ttsd.reporting.report import build_report\n"
        "build_report(Store.read_only(sys.argv[1]), Path(sys.argv[2]))\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\nprint(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "report")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kibibytes = map(float, ended.stdout.split())
    assert seconds < 30
    assert kibibytes < 2 << 20


def test_every_method_of_the_table_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS)) == len(COLOURS) >= len(METHODS)


@pytest.mark.parametrize(
    ("first", "last", "labels"), [(7858.6, 7938.0, {"7.86k", "7.93k"}), (1.0, 128.0, {"1", "20", "100"})]
)
def test_the_axis_of_costs_has_labels_however_narrow_it_is(first: float, last: float, labels: set[str]) -> None:
    rows = [
        {"method": "sdpo", "cost": "tokens", "at": at, "discovery": at / last, "low": 0.0, "high": 1.0}
        for at in (first, last)
    ]
    svg, _ = static_images(discovery_chart(["sdpo"], "tokens", width=520), rows)
    assert labels <= set(re.findall(r">([^<>]+)</text>", svg))
