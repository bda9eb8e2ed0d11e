"""`import ttsd`: questions as objects, runs to watch, the database as tables; and the examples, run as they stand."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ttsd
from tests.commands import ROOT, rows
from tests.synthetic import World, populate
from ttsd.prompts import question_text
from ttsd.record.store import Store

MODEL = ROOT / "problems" / "micro" / "model"
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
FAST = ("model.sampler=transformers", "sampling.group_size=4", "budget.attempts=4")


def score(answer: str) -> float:
    return float(len(answer))


def test_importing_it_loads_nothing_heavy_until_something_is_asked_for() -> None:
    check = "import sys, ttsd; print({'torch', 'pydantic', 'pandas', 'transformers'} & {*sys.modules}, dir(ttsd)[0])"
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set() Answer"


def test_everything_that_is_offered_is_there_and_nothing_else() -> None:
    assert {name for name in ttsd.__all__ if not hasattr(ttsd, name)} == set()
    assert set(ttsd.__all__) == {*ttsd.api.__all__, "losses"}
    with pytest.raises(AttributeError, match="no attribute 'solves'"):
        ttsd.solves  # noqa: B018


def test_a_question_is_a_program_a_function_or_a_judge() -> None:
    program = ttsd.question("Double it.", name="double", cases=[("1\n", "2\n")])
    assert (program.kind, program.cases[0].input, program.title) == ("stdin", "1\n", "double")
    function = ttsd.question("Add.", name="add", entry_point="add", cases=[([1, "é"], {"a": 1})])
    assert (function.kind, function.cases[0].input) == ("function", '1\n"\\u00e9"')
    assert "def add(a, b):" in question_text(function)  # the judge calls it by this name
    judged = ttsd.question("Be long.", name="long", judge=score)
    assert judged.judge == f"{Path(__file__).resolve()}:score"


@pytest.mark.parametrize("name", ["solve", "preview"])
def test_where_an_event_loop_runs_the_function_to_await_is_named(name: str) -> None:
    async def cell() -> None:
        getattr(ttsd, name)("micro:numbers:5:7", "micro")

    with pytest.raises(ttsd.UserError, match=f"await ttsd.a{name}"):
        asyncio.run(cell())


@pytest.mark.parametrize("judge", [lambda answer: 1.0, len, "len"])
def test_a_judge_that_another_process_could_not_find_is_refused(judge: object) -> None:
    with pytest.raises(ttsd.UserError, match="define it in a file"):
        ttsd.question("Be long.", name="long", judge=judge)  # type: ignore[arg-type]


def test_a_question_without_cases_is_refused() -> None:
    with pytest.raises(ttsd.UserError, match="double has no test case"):
        ttsd.question("Double it.", name="double")


@pytest.mark.parametrize(
    ("cases", "entry_point", "said"),
    [
        ([("1",)], None, "is no pair of an input and an output"),
        (["12"], None, "is no pair of an input and an output"),
        ([("1", "2")], "f", "is no pair of a list of arguments and a result"),
        ([([1], {2})], "f", "can't be written as JSON"),
    ],
)
def test_cases_that_are_no_pairs_are_refused(cases: list[Any], entry_point: str | None, said: str) -> None:
    with pytest.raises(ttsd.UserError, match=said):
        ttsd.question("x", name="a", cases=cases, entry_point=entry_point)


def test_a_question_has_a_name() -> None:
    with pytest.raises(ttsd.UserError, match="the question has no name"):
        ttsd.question("x", name=" ", cases=[("1", "2")])


def test_a_single_setting_needs_no_list() -> None:
    assert ttsd.load_config("micro", "budget.attempts=3").budget.attempts == 3


def test_a_question_that_is_not_there_is_refused_in_the_same_way() -> None:
    with pytest.raises(ttsd.UserError, match="there is no question 'nowhere'"):
        ttsd.solve("nowhere", "micro")


SCRIPT = """import ttsd

double = ttsd.question("Read n, print 2n.", name="double", cases=[("1\\n", "2\\n"), ("-3\\n", "-6\\n")])
print(ttsd.solve(double, ttsd.load_config("micro", ["budget.attempts=4", "sampling.group_size=4"])).attempts)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["vllm", "transformers"])
def test_a_script_needs_no_guard(sampler: str, tmp_path: Path) -> None:
    if sampler == "vllm":
        pytest.importorskip("vllm")
    script = SCRIPT.replace('["budget', f'["model.sampler={sampler}", "budget')
    (tmp_path / "script.py").write_text(script)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("4\n", 0), ended.stderr


def test_a_judge_in_a_script_without_a_guard_is_refused_before_anything_starts(tmp_path: Path) -> None:
    script = 'import ttsd\n\n\ndef judge(answer):\n    return 1.0\n\n\nttsd.question("Say.", name="x", judge=judge)\n'
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "script.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "imports" in ended.stderr
    assert "again: put what the script does behind if __name__" in ended.stderr


def test_a_database_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ttsd.UserError, match=r"there is no database .*none\.sqlite"):
        ttsd.read_record(tmp_path / "none.sqlite")
    monkeypatch.setenv("HOME", str(tmp_path))
    for read in (ttsd.read_record, lambda path: ttsd.export(1, "~/adapter", path)):
        with pytest.raises(ttsd.UserError, match=f"no database {tmp_path}/none.sqlite"):
            read("~/none.sqlite")


def config(folder: Path, *settings: str) -> ttsd.Config:
    return ttsd.load_config("micro", [*FAST, *settings, f"store.path={folder / 'ttsd.sqlite'}"])


IMPOSSIBLE = ttsd.question("# No\n\nRead n.\nred: grow\n", name="no", cases=[("1\n", "no\n"), ("1\n", "never\n")])


@pytest.mark.slow
async def test_events_come_while_it_runs_and_closing_stops_it_resumably(tmp_path: Path) -> None:
    stream = ttsd.aevents(IMPOSSIBLE, config(tmp_path, "budget.attempts=100000"))
    seen = [await anext(stream) for _ in range(6)]
    await stream.aclose()
    assert [event.number for event in seen if isinstance(event, ttsd.Attempt)] == [1, 2, 3, 4, 5]
    assert [event.number for event in seen if isinstance(event, ttsd.Step)] == [1]
    (count,) = rows(tmp_path / "ttsd.sqlite", "select count(*), max(attempt) from attempts")
    assert count[0] == count[1]
    answer = await ttsd.asolve(IMPOSSIBLE, config(tmp_path, f"budget.attempts={int(str(count[0])) + 4}"))
    assert (answer.run, answer.discovered) == (1, False)


TRIED = [
    ("own_question", [], ("attempt 1: ", "run 1: ")),
    ("own_judge", [], ("attempts, discovered: ",)),
    ("compare", [], ("best-of-k: discovery at ", "multi-turn: discovery at ")),
    ("read_record", [], ("change", "short")),
    ("use_adapter", ["1", str(MODEL)], ("# Change of a number",)),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the examples run, in one record."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    TRIED,
)
def test_the_examples_work_one_after_the_other_in_one_folder(
    name: str, arguments: list[str], said: tuple[str, ...], made: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert all(text in printed for text in said), printed
    assert (made / "merged" / "config.json").is_file() == (name == "use_adapter")


def test_every_example_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {name for name, *_ in TRIED}


@pytest.mark.slow
async def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell in one namespace, with `await` on the top level, as a kernel runs it."""
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells] == [([], None)] * len(cells)
    names: dict[str, Any] = {}
    for cell in cells:
        code = compile("".join(cell["source"]), NOTEBOOK.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, names)
        if waiting is not None:
            await waiting
    assert list(names["attempts"].attempt) == list(range(1, names["answer"].attempts + 1))
    assert names["answer"].ended in ("discovery", "attempts")


@pytest.mark.slow
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_record_is_frames_of_either_library(tmp_path: Path, library: Any) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed here")
    with Store(tmp_path / "a.sqlite") as store:
        populate(store, {"q": {"sdpo": 0.0, "best-of-k": 0.0}}, World(seeds=1, budget=16, group_size=8))
        store._db.execute("update runs set config = json_set(config, '$.lora.lr', 'auto', '$.lora.x', 1) where run = 2")
        store._db.execute("update runs set config = json_set(config, '$.lora.x', json('[1]')) where run = 1")
    frames = ttsd.read_record(tmp_path / "a.sqlite", library=library)
    assert [len(frame) for frame in (frames.runs, frames.steps, frames.attempts)] == [2, 4, 32]
    assert "config" not in frames.runs.columns
    first, second = frames.runs["config.lora.lr"]
    assert (float(first), second) == (1e-5, "auto")
    assert "config.lora.x" in frames.runs.columns
    assert list(frames.steps["metrics.entropy"])[:1] == [0.5]
    assert sum(frames.steps["seconds.group"]) == 16.0
    assert list(frames.attempts["attempt"]) == [*range(1, 17), *range(1, 17)]


def test_a_library_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path / "a.sqlite").close()
    with pytest.raises(ttsd.UserError, match="library='excel' makes no data frames"):
        ttsd.read_record(tmp_path / "a.sqlite", library="excel")  # type: ignore[call-overload]
    monkeypatch.setitem(sys.modules, "polars", None)  # as where it was never installed
    with pytest.raises(ttsd.UserError, match="polars is not installed: pip install polars"):
        ttsd.read_record(tmp_path / "a.sqlite", library="polars")


def test_a_seed_is_a_whole_number_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    for seed in ("x", 1.5, None):
        with pytest.raises(ttsd.UserError, match=f"seed={seed!r} is no whole number; give one"):
            ttsd.preview("micro:numbers:5:7", seed=seed)
    first, second = (ttsd.preview("micro:numbers:5:7", seed=seed) for seed in (1, np.int64(1)))
    assert first == second
