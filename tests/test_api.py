"""`import ttsd`: questions as objects, runs to watch, the record as tables; and the examples, run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ttsd
from tests.commands import ROOT, rows

MODEL = ROOT / "problems" / "micro" / "model"
EXAMPLES = ROOT / "examples"
FAST = ("model.sampler=transformers", "sampling.group_size=4", "budget.attempts=4")


def score(answer: str) -> float:
    return float(len(answer))


def test_importing_it_loads_nothing_heavy_until_something_is_asked_for() -> None:
    check = "import sys, ttsd; print({'torch', 'pydantic', 'pandas', 'transformers'} & {*sys.modules}, dir(ttsd)[0])"
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set() Answer"


def test_everything_that_is_offered_is_there_and_nothing_else() -> None:
    assert {name for name in ttsd.__all__ if not hasattr(ttsd, name)} == set()
    assert set(ttsd.__all__) == set(ttsd.api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'solves'"):
        ttsd.solves  # noqa: B018


def test_a_question_is_a_program_a_function_or_a_judge() -> None:
    program = ttsd.question("Double it.", name="double", cases=[("1\n", "2\n")])
    assert (program.kind, program.cases[0].input, program.title) == ("stdin", "1\n", "double")
    function = ttsd.question("Add.", name="add", entry_point="add", cases=[([1, "é"], {"a": 1})])
    assert (function.kind, function.cases[0].input) == ("function", '1\n"\\u00e9"')
    judged = ttsd.question("Be long.", name="long", judge=score)
    assert judged.judge == f"{Path(__file__).resolve()}:score"


@pytest.mark.parametrize("judge", [lambda answer: 1.0, len, "len"])
def test_a_judge_that_another_process_could_not_find_is_refused(judge: object) -> None:
    with pytest.raises(ttsd.UserError, match="define it in a file"):
        ttsd.question("Be long.", name="long", judge=judge)  # type: ignore[arg-type]


def test_a_question_without_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="double has no test case"):
        ttsd.question("Double it.", name="double")


def test_a_database_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ttsd.UserError, match=r"there is no database .*none\.sqlite"):
        ttsd.read_record(tmp_path / "none.sqlite")


def config(folder: Path, *settings: str) -> ttsd.Config:
    return ttsd.load_config("micro-cpu", [*FAST, *settings, f"store.path={folder / 'ttsd.sqlite'}"])


IMPOSSIBLE = ttsd.question("# No\n\nRead n.\nred: grow\n", name="no", cases=[("1\n", "no\n"), ("1\n", "never\n")])


@pytest.mark.slow
async def test_events_come_while_it_runs_and_closing_stops_it_resumably(tmp_path: Path) -> None:
    stream = ttsd.aevents(IMPOSSIBLE, config(tmp_path, "budget.attempts=100000"))
    seen = [await anext(stream) for _ in range(6)]
    await stream.aclose()
    assert [event.attempt for event in seen if isinstance(event, ttsd.Rollout)] == [1, 2, 3, 4, 5]
    assert [event.number for event in seen if isinstance(event, ttsd.Step)] == [1]
    (count,) = rows(tmp_path / "ttsd.sqlite", "select count(*), max(attempt) from attempts")
    assert count[0] == count[1]
    answer = await ttsd.asolve(IMPOSSIBLE, config(tmp_path, f"budget.attempts={int(str(count[0])) + 4}"))
    assert (answer.run, answer.discovered) == (1, False)


@pytest.mark.slow
def test_the_examples_work_one_after_the_other_in_one_folder(tmp_path: Path) -> None:
    said = {}
    scripts = [["own_question"], ["own_judge"], ["compare"], ["read_record"], ["use_adapter", "1", str(MODEL)]]
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {script[0] for script in scripts}
    for name, *arguments in scripts:
        ended = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said[name] = ended.stdout
    assert "attempt 1: " in said["own_question"]
    assert "run 1: " in said["own_question"]
    assert "attempts, discovered: " in said["own_judge"]
    assert "best-of-k: discovery at " in said["compare"]
    assert "change" in said["read_record"]
    assert (tmp_path / "merged" / "config.json").is_file()
