"""Pulling from local files, the cache on disk, and choosing from its index."""

from __future__ import annotations

import fcntl
import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

import problems
from problems import ProblemError, collection, livecodebench, rows, selection
from problems.collection import Entry, Index
from problems.selection import Filter
from tests.rows import ROWS, needs_data, row

LCB = livecodebench.SOURCE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lcb"


def written(path: Path, *rows: dict[str, object] | str) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProblemError) as refused:
        collection.pull_files(LCB, path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_was_pulled_is_found_by_name(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "r.jsonl", row(), row(question_id="2", question_title="Two", difficulty="easy"))
    pulled = collection.pull_files(LCB, path)
    path.unlink()
    assert collection.index("lcb") == pulled
    assert (pulled.origin, pulled.revision, pulled.release) == (str(path), "", "")
    facts = ("Two", "2025-02-01T00:00:00", "easy", "atcoder")
    assert pulled.entries[1] == Entry("2", 1, *facts, file=pulled.entries[1].file)
    problem = problems.load("lcb:2")
    assert (problem.name, problem.title, problem.default_split, len(problem.cases)) == ("lcb:2", "Two", "half", 3)
    assert problems.reference("lcb:2") is None
    assert sorted(file.name for file in cache.iterdir()) == ["index.json", "lock", "rows"]


def test_an_unknown_question_is_answered_with_a_close_one(tmp_path: Path) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row()))
    with pytest.raises(ProblemError, match=r"no lcb:abc1_b among the 1 .* did you mean 'lcb:abc1_a'\?$"):
        problems.load("lcb:abc1_b")
    with pytest.raises(ProblemError, match=r"list them with `ttsd problems list lcb`"):
        problems.load("lcb:zzzzzz")


def test_rows_that_can_not_be_used_are_named_and_left_out(tmp_path: Path) -> None:
    path = written(
        tmp_path / "r.jsonl",
        row(question_id="bad", private_test_cases="no base64!"),
        "{",
        "",
        row(),
        row(question_title="again"),
        row(question_id=""),
        row(question_id="a\nb"),
        "[]",
    )
    pulled = collection.pull_files(LCB, path)
    assert [entry.question_id for entry in pulled.usable()] == ["abc1_a"]
    refused = {(entry.row, entry.question_id): entry.refused for entry in pulled.refused()}
    assert [*refused] == [(0, "bad"), (1, "row 1"), (3, "abc1_a"), (4, "row 4"), (5, "a\nb"), (6, "row 6")]
    assert "can't be decoded" in refused[0, "bad"]
    assert "twice" in refused[3, "abc1_a"]
    assert problems.load("lcb:abc1_a").title == "Sum"
    with pytest.raises(ProblemError, match=r"lcb:bad was pulled but can't be used: .* can't be decoded"):
        problems.load("lcb:bad")


def test_a_row_that_is_too_long_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 4096)
    long = row(question_id="long", question_content="x" * 50_000)
    (tmp_path / "r.jsonl.gz").write_bytes(
        gzip.compress("\n".join(map(json.dumps, (row(), long, row(question_id="2")))).encode())
    )
    pulled = collection.pull_files(LCB, tmp_path / "r.jsonl.gz")
    assert [entry.question_id for entry in pulled.usable()] == ["abc1_a", "2"]
    assert "it is no question" in pulled.refused()[0].refused
    monkeypatch.setattr(rows, "MAX_FILE_BYTES", 20_000)
    assert "split it" in refusal(tmp_path / "r.jsonl.gz")


def test_a_file_of_nothing_usable_changes_nothing(tmp_path: Path) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row()))
    assert "not JSON" in refusal(written(tmp_path / "bad.jsonl", "{"))
    assert "give files in LiveCodeBench's schema" in refusal(written(tmp_path / "empty.jsonl"))
    assert "there is no file" in refusal(tmp_path / "none.jsonl")
    assert "none of .jsonl" in refusal(tmp_path / "none.txt")
    (tmp_path / "folder").mkdir()
    assert "has no .jsonl" in refusal(tmp_path / "folder")
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(json.dumps(row(question_id="2")).encode())[:-20])
    assert "can't be read" in refusal(tmp_path / "r.jsonl.gz")
    assert problems.load("lcb:abc1_a").title == "Sum"


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("test2", "test", "test3"):
        written(tmp_path / f"{name}.jsonl", row(question_id=name))
    (tmp_path / "README.md").write_text("")
    assert [entry.question_id for entry in collection.pull_files(LCB, tmp_path).entries] == ["test", "test2", "test3"]


def test_a_new_pull_replaces_the_old_one_and_its_files(tmp_path: Path, cache: Path) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row(), row(question_id="2")))
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row(question_title="New")))
    assert problems.load("lcb:abc1_a").title == "New"
    assert len(list((cache / "rows").iterdir())) == 1


def test_a_killed_pull_leaves_the_old_one_and_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row(question_title="Old")))
    path = written(tmp_path / "r.jsonl", row(question_title="New"), row(question_id="2"), row(question_id="3"))
    asked: list[str] = []

    def killed_at_the_third(row: rows.Row, name: str) -> problems.Problem:
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return livecodebench.problem(row, name)

    source = replace(LCB, problem=killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        collection.pull_files(source, path)
    assert problems.load("lcb:abc1_a").title == "Old"
    (cache / "rows" / ".draft-left").write_text("by a kill -9")
    collection.pull_files(source, path)
    assert asked == ["lcb:abc1_a", "lcb:2", "lcb:3", "lcb:abc1_a", "lcb:2", "lcb:3"]  # its rows are read again
    assert problems.load("lcb:abc1_a").title == "New"
    assert len(list((cache / "rows").iterdir())) == 3


def test_two_pulls_at_once_are_one_too_many(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another pull" in refusal(written(tmp_path / "r.jsonl", row()))


def test_a_place_that_can_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path / "file"))
    assert "set TTSD_CACHE" in refusal(written(tmp_path / "r.jsonl", row()))


@pytest.mark.parametrize("damage", ["", "[]", '{"format": 0}', '{"format": 1}', '{"format": 1, "entries": [{}]}', "{"])
def test_a_damaged_index_is_said(tmp_path: Path, cache: Path, damage: str) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row()))
    (cache / "index.json").write_text(damage)
    with pytest.raises(ProblemError, match=r"index.json can't be read .* pull livecodebench"):
        problems.load("lcb:abc1_a")


def test_a_lost_or_damaged_question_is_said(tmp_path: Path, cache: Path) -> None:
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row()))
    [file] = (cache / "rows").iterdir()
    file.write_text("{")
    with pytest.raises(ProblemError, match="lcb:abc1_a is not JSON"):
        problems.load("lcb:abc1_a")
    collection.pull_files(LCB, tmp_path / "r.jsonl")
    file.unlink()
    with pytest.raises(ProblemError, match="pull it again"):
        problems.load("lcb:abc1_a")


def test_the_cache_has_a_usual_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TTSD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    collection.pull_files(LCB, written(tmp_path / "r.jsonl", row()))
    assert (tmp_path / "xdg" / "ttsd" / "lcb" / "index.json").is_file()


def test_releases_are_spans_of_files() -> None:
    assert LCB.release(None) == LCB.release("v6") == LCB.release("release_v6")
    assert LCB.release("v1")[1].files == ("test.jsonl",)
    assert LCB.release("v3")[1].files == ("test.jsonl", "test2.jsonl", "test3.jsonl")
    assert LCB.release("v5_v6")[1].files == ("test5.jsonl", "test6.jsonl")
    assert LCB.release("v6_v6")[1].files == ("test6.jsonl",)
    with pytest.raises(ProblemError, match=r"no release 'v7': choose one of v6, v5, v4, v3, v2, v1$"):
        LCB.release("v7")
    with pytest.raises(ProblemError, match=r"no source 'bananas': choose one of livecodebench, humaneval"):
        collection.source_named("bananas")


DAYS = ("2025-01-31", "2025-02-01", "2025-04-30", "2025-05-01")


def some(*, refused: int | None = None) -> Index:
    entries = [
        Entry(
            question_id=str(n),
            row=n,
            date=f"{day}T00:00:00",
            difficulty=["easy", "hard"][n % 2],
            platform="atcoder",
            file="f",
        )
        for n, day in enumerate(DAYS)
    ]
    if refused is not None:
        entries[refused] = replace(entries[refused], file="", refused="broken.")
    return Index("lcb", "", "", "", "", tuple(entries))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), ["0", "1", "2", "3"]),
        (Filter(since="2025-02-01", until="2025-05-01"), ["1", "2"]),
        (Filter(since="2025-05-01"), ["3"]),
        (Filter(difficulty=("hard",)), ["1", "3"]),
        (Filter(difficulty=("hard", "easy"), platform=("atcoder",), until="2025-02-01"), ["0"]),
        (Filter(since="2025-02-01", indices=(2, 0), pool=3), ["3", "1"]),
        (Filter(indices=()), []),
    ],
)
def test_filters(wanted: Filter, ids: list[str]) -> None:
    assert [entry.question_id for entry in selection.select(some(), wanted)] == ids
    assert selection.names(some(), wanted) == [f"lcb:{question_id}" for question_id in ids]


def test_refused_rows_keep_their_numbers() -> None:
    assert selection.names(some(refused=1), Filter(indices=(2,), pool=4)) == ["lcb:2"]
    assert selection.names(some(refused=1), Filter(difficulty=("hard",))) == ["lcb:3"]
    with pytest.raises(ProblemError, match=r"lcb:1 was pulled but can't be used: broken\."):
        selection.names(some(refused=1), Filter(indices=(1,)))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Filter(since="February"), "'February' is no day: write it as 2025-02-01"),
        (Filter(until="20250201"), "is no day"),
        (Filter(difficulty=("hrad",)), "did you mean 'hard'?"),
        (Filter(platform=("icpc",)), "there are: atcoder"),
        (Filter(pool=131), "leaves 4 of the lcb: questions .* should leave 131: pull the release"),
        (Filter(indices=(4,)), "no row 4 among the 4"),
        (Filter(indices=(-1,)), "no row -1"),
    ],
)
def test_filters_that_can_not_be_meant(wanted: Filter, words: str) -> None:
    with pytest.raises(ProblemError, match=words.replace("?", r"\?")):
        selection.select(some(), wanted)


@needs_data
def test_1055_real_rows_are_pulled_listed_and_loaded(tmp_path: Path) -> None:
    lines = ROWS.read_text().splitlines()
    many = [line.replace('"question_id": "', f'"question_id": "{n}-') for n in range(7) for line in lines][:1055]
    (tmp_path / "pool.jsonl").write_text("\n".join(many))
    pulled = collection.pull_files(LCB, tmp_path / "pool.jsonl")
    assert (len(pulled.usable()), pulled.refused()) == (1055, [])
    started = time.perf_counter()
    assert len(selection.names(collection.index("lcb"), Filter(since="2025-02-01", until="2025-05-01"))) > 300
    assert time.perf_counter() - started < 1
    started = time.perf_counter()
    assert problems.load(f"lcb:{pulled.entries[-1].question_id}").title
    assert time.perf_counter() - started < 0.3
