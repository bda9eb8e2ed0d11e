"""Lists of questions: shipped ones, files, filters over what was pulled, mistakes."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from problems import ProblemError, collection, livecodebench
from problems.subsets import questions, shipped
from tests.folders import made
from tests.rows import row
from ttsd.errors import UserError

PAPER = ("lcb-paper", "lcb-paper-hard", "lcb-paper-very-hard")


def test_a_home_folder_and_variables_in_a_list_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("SCRATCH", "/scratch")
    (tmp_path / "a.toml").write_text('questions = ["~/double", "${SCRATCH}/double", "micro:numbers:5:7"]')
    assert questions([str(tmp_path / "a.toml")]) == [
        "/home/somebody/double",
        "/scratch/double",
        "micro:numbers:5:7",
    ]


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """131 questions of February to April 2025 with others around them, pulled."""
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path / "cache"))
    days = ["2025-01-31", *(f"2025-0{2 + n % 3}-1{n % 10}" for n in range(131)), "2025-05-01"]
    rows = [row(question_id=f"q{n - 1}", contest_date=f"{day}T00:00:00") for n, day in enumerate(days)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    collection.pull_files(livecodebench.SOURCE, tmp_path / "r.jsonl")


def refusal(*names: str) -> str:
    with pytest.raises((UserError, ProblemError)) as refused:
        questions(names)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_questions_stand_for_themselves_and_come_once(tmp_path: Path) -> None:
    folder = made(tmp_path / "double")
    names = ["micro:numbers:5:7", str(folder), "rows.jsonl#1", "micro:numbers:5:7"]
    assert questions(names) == names[:3]


def test_a_folder_stands_for_the_questions_in_it_and_not_for_what_runs_leave_there(tmp_path: Path) -> None:
    folders = [str(made(tmp_path / name)) for name in ("a", "b")]
    made(tmp_path / ".git")
    (tmp_path / "ttsd.sqlite.state").mkdir()
    assert questions([str(tmp_path)]) == folders
    assert "there is no question in" in refusal(str(tmp_path / "ttsd.sqlite.state"))


@pytest.mark.usefixtures("pool")
def test_the_papers_subsets_count_rows_of_its_pool() -> None:
    assert set(PAPER) <= set(shipped())
    assert questions(["lcb-paper"]) == [f"lcb:q{n}" for n in range(131)]
    hard, very_hard = questions(["lcb-paper-hard"]), questions(["lcb-paper-very-hard"])
    assert (len(hard), len(very_hard), hard[0], hard[-1]) == (19, 9, "lcb:q1", "lcb:q129")
    assert set(very_hard) < set(hard)
    assert len(questions(["lcb"])) == 133


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_subsets_say_what_to_pull(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    assert "ttsd problems pull livecodebench --release v6" in refusal(name)
    text = (resources.files("configs") / "subsets" / f"{name}.toml").read_text("utf-8")
    assert tomllib.loads(text)["filter"]["pool"] == 131


def test_every_shipped_file_is_a_subset() -> None:
    files = [file.name.removesuffix(".toml") for file in (resources.files("configs") / "subsets").iterdir()]
    assert files
    assert set(files) <= set(shipped())


@pytest.mark.usefixtures("pool")
def test_a_file_lists_or_filters(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('questions = ["lcb:q1", "micro:numbers:5:7"]')
    assert questions([str(path)]) == ["lcb:q1", "micro:numbers:5:7"]
    path.write_text('[filter]\nsource = "livecodebench"\nuntil = "2025-02-01"\nplatform = ["atcoder"]')
    assert questions([str(path)]) == ["lcb:q-1"]


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs either questions"),
        ('questions = []\n[filter]\nsource = "lcb"', "needs either questions"),
        ("questions = [1]", "no list `questions`"),
        ("questions = []", "names no question"),
        ("[", "give a TOML file"),
        ("filter = 1", "no table"),
        ("[filter]", "names no source"),
        ('[filter]\nsource = "bananas"', "no source 'bananas'"),
        ('[filter]\nsource = "mbpp"', "ttsd problems pull mbpp"),
        ('[filter]\nsource = "lcb"\nsinc = "2025-02-01"', "did you mean 'since'?"),
        ('[filter]\nsource = "lcb"\nxyz = 1', "known are source"),
        ('[filter]\nsource = "lcb"\nsince = 2025-02-01', "of the wrong type"),
        ('[filter]\nsource = "lcb"\ndifficulty = "hard"', "of the wrong type"),
        ('[filter]\nsource = "lcb"\nindices = ["1"]', "of the wrong type"),
        ('[filter]\nsource = "lcb"\nindices = [true]', "of the wrong type"),
        ('[filter]\nsource = "lcb"\nindices = [133]', "no row 133"),
        ('[filter]\nsource = "lcb"\npool = 5', "should leave 5"),
        ('[filter]\nsource = "lcb"\nsince = "2026-01-01"', "names no question"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert words in refusal(str(path))


@pytest.mark.parametrize("key", ["pool", "since", "indices"])
def test_a_number_without_end_is_a_mistake_too(tmp_path: Path, key: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'[filter]\nsource = "lcb"\n{key} = {"9" * 5000}')
    assert "value has 5000 digits" in refusal(str(path))


def test_unknown_subsets(tmp_path: Path) -> None:
    assert "did you mean 'lcb-paper-hard'?" in refusal("lcb-paper-hrad")
    assert "micro-hard" in refusal("nothing")
    assert "can't read" in refusal(str(tmp_path / "no.toml"))
    assert "names no question" in refusal()
