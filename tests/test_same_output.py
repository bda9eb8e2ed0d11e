"""Comparisons: LiveCodeBench's rules for honest output, and nothing but False for the rest."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import operations
from ttsd.judging.same_output import SLACK_BYTES, same_output, same_result


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("3\n", "3"),
        ("3", "3\n"),
        ("\n\n 3 \r\n 4\t\n\n", "3\n4"),
        ("1 2  3", "1 2  3"),
        ("1  2 3", "1 2 3"),
        ("1.0 -0", "1 0"),
        ("1e2", "100.00"),
        ("inf", "Infinity"),
        ("Yes", "Yes"),
        ("NaN", "NaN"),
        ("", ""),
        (" \n", ""),
        ("\n", "\n"),
        ("é ñ", "é ñ"),
        ("٣ ४٢", "3 42"),
        ("3" + "\n" * SLACK_BYTES, "3"),
        ("1" * 5000 + ".0", "1" * 5000),
    ],
)
def test_right_output(printed: str, expected: str) -> None:
    assert same_output(printed.encode(), expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (b"", "3"),
        (b"3", ""),
        (b"3\n3", "3"),
        (b"3\n\n4", "3\n4"),
        (b"1 2", "12"),
        (b"Yes  No", "Yes No"),
        (b"yes", "Yes"),
        (b"0.30000000000000004", "0.3"),
        (b"1.0 Yes", "1 Yes"),
        (b"nan", "NaN"),
        (b"1 nan", "1.0 nan"),
        (b"sNaN", "1"),
        (b"1", "sNaN"),
        (b"sNaN1", "sNaN2"),
        (b"1e99999999999999999999", "1e99999999999999999998"),
        (b"9007199254740993", "9007199254740992"),
        (b"3\x00", "3"),
        (b"\xff3", "3"),
        (b"\xff", "\ufffd"),
        (b"\xed\xa0\x80", "\ufffd"),
        (b"\xef\xbb\xbf3", "3"),
        ("3".encode("utf-16"), "3"),
    ],
)
def test_wrong_output(printed: bytes, expected: str) -> None:
    assert not same_output(printed, expected)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (b"3", "3"),
        (b" 3\n", "3\n"),
        (b"3.0", "3"),
        (b"true", "1"),
        (b"null", "null"),
        (b"[1, [2, 3]]", "[1,[2,3]]"),
        (b'{"b": 1, "a": [2]}', '{"a": [2], "b": 1}'),
        (b'"\\u00e9"', '"é"'),
        (b"-0.0", "0"),
        (b"[]", "[]"),
    ],
)
def test_right_result(returned: bytes, expected: str) -> None:
    assert same_result(returned, expected)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, "null"),
        (b"", "null"),
        (b"", '""'),
        (b"3", '"3"'),
        (b"[3]", "3"),
        (b"[2, 1]", "[1, 2]"),
        (b"0.30000000000000004", "0.3"),
        (b"9007199254740993.0", "9007199254740993"),
        (b"NaN", "NaN"),
        (b"[NaN]", "[NaN]"),
        (b"Infinity", "Infinity"),
        (b"1e999", "1e998"),
        (b"3 3", "3"),
        (b"[" * 60_000, "[]"),
        (b"[" * 500 + b"]" * 500, "[" * 501 + "]" * 501),
        (b"9" * 5000, "9" * 4999),
        (b"\xff", '"\\ufffd"'),
        (b'"\xed\xa0\x80"', '"\\ud800"'),
        ("3".encode("utf-16"), "3"),
        (b"\xef\xbb\xbf3", "3"),
        (b"None", "null"),
        (b"{'a': 1}", '{"a": 1}'),
        (b"\x80\x04K\x03.", "3"),
    ],
)
def test_wrong_result(returned: bytes | None, expected: str) -> None:
    assert not same_result(returned, expected)


@pytest.mark.parametrize("byte", [b"\n", b" ", b"1", b"[", b"-", b"\x00", b"\xff", b"1 ", b"1\n", b"[1,"])
def test_a_flood_is_refused_unread(byte: bytes) -> None:
    flood = byte * (16 << 20)
    assert not same_output(flood, "1")
    assert not same_result(flood, "1")
    assert operations(lambda _: same_output(flood, "1"), "") < 1000
    assert operations(lambda _: same_result(flood, "1"), "") < 1000


@pytest.mark.parametrize("token", ["1", "1.0", "1\n", "x", "nan ", "1e5 "])
def test_the_cost_grows_no_faster_than_the_expected_output(token: str) -> None:
    def compared(text: str) -> None:
        assert not same_output((text + "1").encode(), text + "2")

    once, twice = (operations(compared, token * count) for count in (2000, 4000))
    assert twice < 2.3 * once


def reference(printed: str, expected: str) -> bool:
    """LiveCodeBench's rule, written as plainly as it can be."""
    left, right = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    if len(left) != len(right):
        return False
    for one, other in zip(left, right, strict=True):
        if one != other:
            try:
                if [Decimal(token) for token in one.split()] != [Decimal(token) for token in other.split()]:
                    return False
            except (InvalidOperation, ValueError):
                return False
    return True


tokens = st.sampled_from(
    ["1", "1.0", "01", "1e0", "2", "-0", "0", "x", "nan", "sNaN", "inf", " ", "  ", "\n", "\r\n", ""]
)
texts = st.lists(tokens, max_size=8).map(" ".join) | st.text(max_size=20)


@given(texts, texts)
def test_output_is_compared_as_livecodebench_does(printed: str, expected: str) -> None:
    assert same_output(printed.encode("utf-8", "surrogatepass"), expected) == reference(printed, expected)
    assert same_output(expected.encode(), expected)


@given(st.binary(max_size=200), texts)
def test_hostile_bytes_are_never_more_than_wrong(data: bytes, expected: str) -> None:
    printed = same_output(data, expected)
    assert not printed or reference(data.decode(), expected)
    returned = same_result(data, expected)
    assert not returned or json.loads(data.decode()) == json.loads(expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, json_values)
def test_results_are_equal_exactly_when_their_values_are(one: object, other: object) -> None:
    assert same_result(json.dumps(one).encode(), json.dumps(one))
    assert same_result(json.dumps(one).encode(), json.dumps(other)) == (one == other)
