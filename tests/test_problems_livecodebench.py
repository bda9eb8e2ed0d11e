"""Rows in LiveCodeBench's schema: good ones, broken ones, hostile ones."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import random
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import problems
from problems import ProblemError, livecodebench, rows, values
from problems.livecodebench import UnpickleError, pickled_text
from tests.bench.fuzz_livecodebench import mutated
from tests.rows import DATA, ROWS, STDIN, needs_data, packed, row

CALL = [{"input": "1\n[2]", "output": "[3]", "testtype": "functional"}]


FUNCTION = {
    "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
    "metadata": json.dumps({"func_name": "add"}),
    "public_test_cases": json.dumps(CALL),
    "private_test_cases": json.dumps(CALL),
}


def written(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refusal(name: str) -> str:
    with pytest.raises(ProblemError) as refused:
        problems.load(name)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def loads_or_refuses(name: str) -> None:
    message = ""
    try:
        problems.load(name)
    except ProblemError as error:
        message = str(error)
    assert "\n" not in message


def test_a_stdin_question(tmp_path: Path) -> None:
    name = f"{written(tmp_path / 'rows.jsonl', row(question_id='abc1_b'), row())}#abc1_a"
    problem = problems.load(name)
    assert (problem.name, problem.title, problem.statement) == (name, "Sum", "Print the sum.")
    assert problem.kind == "stdin"
    assert [case.public for case in problem.cases] == [True, False, False]
    assert problem.cases[2].input == "1 2\n"
    assert problem.default_split == "half"


def test_a_function_question_with_plain_private_tests(tmp_path: Path) -> None:
    problem = problems.load(f"{written(tmp_path / 'rows.jsonl', row(**FUNCTION))}#abc1_a")
    assert (problem.kind, problem.entry_point) == ("function", "add")
    assert problem.starter_code.startswith("class Solution")
    assert (problem.cases[1].input, problem.cases[1].expected) == ("1\n[2]", "[3]")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_strings_of_every_pickle_protocol_are_read(protocol: int) -> None:
    for text in ("", "short", "é\n\\u0041\ud83d", "x" * 300, "long" * 100_000):
        assert pickled_text(pickle.dumps(text, protocol)) == text


def test_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row()).encode()))
    assert problems.load(f"{path}#abc1_a").title == "Sum"
    path.write_bytes(gzip.compress(json.dumps(row()).encode())[:-20])
    assert "can't be read" in refusal(f"{path}#abc1_a")
    path.write_bytes(b"not gzip")
    assert "can't be read" in refusal(f"{path}#abc1_a")


def test_an_id_outside_ascii_is_found_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for ascii_only in (True, False):
        path.write_text(json.dumps(row(question_id="é#1"), ensure_ascii=ascii_only))
        with pytest.raises(ProblemError):
            problems.load(f"{path}#1")
        assert livecodebench.load(path, "é#1", "x").title == "Sum"


def test_an_unknown_id_is_answered_with_a_close_one(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", row(), row(question_id="2727"))
    assert "did you mean 'abc1_a'?" in refusal(f"{path}#abc1_b")
    assert "among its 2 rows" in refusal(f"{path}#zzz")
    assert livecodebench.question_ids(path) == ["abc1_a", "2727"]


def test_an_id_that_is_only_mentioned_is_not_found(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", row(contest_id="abc1_z"), row(question_id="2", question_title="abc1_z"))
    assert "no question 'abc1_z'" in refusal(f"{path}#abc1_z")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "there is no file" in refusal(f"{tmp_path / 'no.jsonl'}#1")


def test_a_folder_with_a_files_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    assert "there is no file" in refusal(f"{tmp_path / 'rows.jsonl'}#1")


def test_a_row_twice_is_refused(tmp_path: Path) -> None:
    assert "2 rows with the question_id 'abc1_a'" in refusal(f"{written(tmp_path / 'r.jsonl', row(), row())}#abc1_a")


class Global:
    """Pickles to a call of a harmless function, as a hostile blob would call a harmful one."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.unlink, ("file",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question_title": None}, "no text in the field 'question_title'"),
        ({"question_content": 3}, "no text in the field 'question_content'"),
        ({"starter_code": None}, "no text in the field 'starter_code'"),
        ({"public_test_cases": [1]}, "public test 0, has no input and output text"),
        ({"private_test_cases": None}, "no text in the field 'private_test_cases'"),
        ({"public_test_cases": "[", "private_test_cases": "[]"}, "public_test_cases is not JSON"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "no test case"),
        ({"public_test_cases": "{}"}, "not a list but a dict"),
        ({"public_test_cases": "[1]"}, "public test 0, has no input and output text"),
        ({"public_test_cases": '[{"input": "1", "output": 2}]'}, "public test 0, has no input and output text"),
        ({"private_test_cases": packed(json.dumps(CALL))}, "is of type 'functional', but metadata names no function"),
        ({"metadata": '{"func_name": "f"}', "starter_code": "def f"}, "'stdin', but metadata names the function 'f'"),
        ({"metadata": '{"func_name": 3}'}, "without a usable func_name"),
        ({"metadata": '{"func_name": "a b"}'}, "without a usable func_name"),
        ({"metadata": "[]"}, "without a usable func_name"),
        ({"metadata": "{"}, "metadata is not JSON"),
        (FUNCTION | {"starter_code": " "}, "no starter_code"),
        (FUNCTION | {"public_test_cases": CALL[:0].__str__(), "private_test_cases": "[]"}, "no test case"),
        (FUNCTION | {"public_test_cases": json.dumps([CALL[0] | {"input": "[1"}])}, "case 0, is not JSON"),
        ({"private_test_cases": "no base64!"}, "can't be decoded"),
        ({"private_test_cases": "é"}, "can't be decoded"),
        ({"private_test_cases": ""}, "can't be decoded"),
        ({"private_test_cases": base64.b64encode(b"not zlib").decode()}, "can't be decoded"),
        ({"private_test_cases": base64.b64encode(zlib.compress(b"x" * 999)[:-9]).decode()}, "cut short"),
        ({"private_test_cases": base64.b64encode(zlib.compress(b"")).decode()}, "pickle is broken"),
        ({"private_test_cases": packed("[")}, "private_test_cases is not JSON"),
        ({"private_test_cases": packed("[" * 99_999)}, "private_test_cases is not JSON"),
        ({"private_test_cases": packed('["\ud800"]')}, "has no input and output text"),
        ({"private_test_cases": packed([1])}, "holds EMPTY_LIST where only a string may be"),
        ({"private_test_cases": packed(b"[]")}, "where only a string may be"),
        ({"private_test_cases": packed(None)}, "holds NONE where only a string may be"),
        ({"private_test_cases": packed(Global())}, "holds STACK_GLOBAL where only a string may be"),
    ],
)
def test_a_row_that_can_not_be_used_is_refused_by_name(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    message = refusal(f"{written(tmp_path / 'r.jsonl', row(**changes))}#abc1_a")
    assert words in message
    assert "r.jsonl#abc1_a" in message


@pytest.mark.parametrize(
    "blob",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"\x80\x04\x8c\x01a\x8c\x01b.",
        b"\x80\x04\x8c\x01aQ.",
        b"Pid\n.",
        b"\x94" * 10_000_000 + b".",
        b"\x80\x04X\x01\x00\x00\x00\xff.",
        b"\x80\x04.",
        b"",
    ],
)
def test_a_pickle_of_anything_but_one_string_is_refused_at_once(blob: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(UnpickleError):
        pickled_text(blob)
    assert time.perf_counter() - started < 1


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livecodebench, "MAX_TESTS_BYTES", 1 << 20)
    bomb = base64.b64encode(zlib.compress(bytes(64 << 20), 9)).decode()
    message = refusal(f"{written(tmp_path / 'r.jsonl', row(private_test_cases=bomb))}#abc1_a")
    assert "holds more than 1 MiB" in message


@pytest.mark.parametrize("text", ["[" + "[]," * 5000 + "[]]", '["", ' + '"ab",' * 5000 + '""]'])
def test_json_that_would_unfold_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(values, "MAX_VALUES", 1000)
    for changes in ({"private_test_cases": packed(text)}, {"public_test_cases": text}, {"metadata": text}):
        assert "more than 1000 values" in refusal(f"{written(tmp_path / 'r.jsonl', row(**changes))}#abc1_a")
    (tmp_path / "r.jsonl").write_text(json.dumps(row())[:-1] + f', "more": {text}}}')
    assert "more than 1000 values" in refusal(f"{tmp_path / 'r.jsonl'}#abc1_a")
    call = [{"input": text, "output": "1", "testtype": "functional"}]
    rows = row(**FUNCTION | {"public_test_cases": json.dumps(call)})
    assert "more than 1000 values" in refusal(f"{written(tmp_path / 'r.jsonl', rows)}#abc1_a")
    plain = row(private_test_cases=packed(json.dumps([{"input": text, "output": '\\"' * 2000, "testtype": "stdin"}])))
    assert problems.load(f"{written(tmp_path / 'r.jsonl', plain)}#abc1_a").cases[1].input == text


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 1 << 16)
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(4 << 20)))
    assert "it is no question" in refusal(f"{path}#abc1_a")


@pytest.mark.parametrize("line", [b'["abc1_a"]', b'"abc1_a"', b'{"question_id": "abc1_a"', b'"abc1_a"\xff'])
def test_a_line_that_is_no_row_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(b"{}\n" + line)
    assert "line 2" in refusal(f"{tmp_path / 'r.jsonl'}#abc1_a")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(row())), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_fuzzed_fields_give_a_question_or_a_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    path = written(tmp_path / "r.jsonl", row(**changes) | {"question_id": "abc1_a"})
    loads_or_refuses(f"{path}#abc1_a")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.booleans(), st.integers(0, 3))
def test_fuzzed_blobs_give_a_question_or_a_sentence(tmp_path: Path, noise: bytes, cut: bool, depth: int) -> None:
    good = pickle.dumps(json.dumps(STDIN))
    blob = (noise, good[: len(noise)] + noise if cut else good + noise, good, noise + good)[depth]
    private = base64.b64encode(zlib.compress(blob)).decode()
    path = written(tmp_path / "r.jsonl", row(private_test_cases=private))
    loads_or_refuses(f"{path}#abc1_a")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_fuzzed_bytes_give_a_question_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    line = bytearray(json.dumps(row()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "r.jsonl").write_bytes(line)
    loads_or_refuses(f"{tmp_path / 'r.jsonl'}#abc1_a")


@pytest.mark.slow
def test_rows_broken_at_every_layer_give_a_question_or_a_sentence() -> None:
    from tests.bench.fuzz_livecodebench import fuzz

    counts = fuzz(ROWS, seconds=2, seed=1)
    assert counts["lcb question"] > 0
    assert counts["lcb refused"] > 0


@needs_data
def test_every_real_row_loads() -> None:
    ids = livecodebench.question_ids(ROWS)
    assert len(ids) == 175
    kinds = {problems.load(f"{ROWS}#{question_id}").kind for question_id in ids}
    assert kinds == {"stdin", "function"}


@needs_data
def test_genuine_rows_keep_all_their_tests() -> None:
    path = DATA / "lcb_genuine_rows.jsonl"
    for question_id in livecodebench.question_ids(path):
        problem = problems.load(f"{path}#{question_id}")
        assert any(case.public for case in problem.cases)
        assert sum(not case.public for case in problem.cases) > 0


@needs_data
def test_one_of_1055_rows_loads_at_once(tmp_path: Path) -> None:
    lines = ROWS.read_text().splitlines()
    many = [line.replace('"question_id": "', f'"question_id": "{n}-') for n in range(7) for line in lines][:1055]
    path = tmp_path / "pool.jsonl"
    path.write_text("\n".join(many))
    wanted = livecodebench.question_ids(path)[-1]
    started = time.perf_counter()
    problems.load(f"{path}#{wanted}")
    assert time.perf_counter() - started < 0.3
    started = time.perf_counter()
    assert len(livecodebench.question_ids(path)) == 1055
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "private",
    [STDIN * 2, json.dumps(STDIN * 2), base64.b64encode(zlib.compress(json.dumps(STDIN * 2).encode())).decode()],
)
def test_rows_that_were_decoded_before_are_read(private: object) -> None:
    found = livecodebench.problem(row(public_test_cases=STDIN, private_test_cases=private), "x")
    assert found == livecodebench.problem(row(), "x")


def test_a_question_with_several_right_answers_is_known() -> None:
    found = row(question_content="Add them.\nIf there are multiple answers, return any of them. Constraints: none.")
    assert livecodebench.problem(found, "x").several_answers
    granted = row(question_content="Add them. An error of 1e-6 is allowed.")
    assert str(livecodebench.problem(granted, "x").comparison) == "numbers within 1e-06"


@pytest.mark.parametrize("line", [b'"text"', b"[1]", b"7", b"null", b"{}"])
def test_the_fuzzer_can_change_rows_that_its_own_changes_made_no_objects(line: bytes) -> None:
    for seed in range(20):
        mutated(line, random.Random(seed))
