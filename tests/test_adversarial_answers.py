"""Final answers that a model might try, beside honest ones: what is accepted, what is wrong, what is none at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import operations
from ttsd.judging.extract import extract_answer, extract_program
from ttsd.judging.scoring.numerals import numeral
from ttsd.judging.scoring.same_answer import same_answer

NOT_WORKED_OUT = [
    (r"\int_0^1 x^2 dx", "1/3"),
    (r"∫_0^1 x^2 dx", "1/3"),
    (r"\iint x dy dx", "1/3"),
    (r"\oint x", "0"),
    (r"\sum_{i=1}^{1000} i", "500500"),
    ("∑ i", "500500"),
    (r"\prod_{i=1}^{5} i", "120"),
    (r"\lim_{x \to 0} \frac{\sin x}{x}", "1"),
    (r"\gcd(12345678,87654)", "6"),
    (r"\operatorname{lcm}(4,6)", "12"),
    (r"\mathrm{lcm}(4,6)", "12"),
    (r"lcm(4,6)", "12"),
    (r"7^{100003} \mod 10", "3"),
    (r"7^{100003} \bmod 10", "3"),
    (r"7^{100003} \pmod{10}", "3"),
    ("7^100003 mod 10", "3"),
    (r"\det\begin{pmatrix}1&2\\3&4\end{pmatrix}", "-2"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", "-2"),
    ("100!", "120"),
    ("5!", "120"),
    (r"\binom{50}{25}", "126410606437752"),
    (r"\dbinom{4}{2}", "6"),
    (r"{4 \choose 2}", "6"),
    (r"\frac{d}{dx} x^2", "2x"),
    (r"\frac{\partial}{\partial x} x^2", "2x"),
    ("d/dx x^2", "2x"),
    (r"\max(1,2)", "2"),
    (r"\min\{1,2\}", "1"),
    ("max(1,2)", "2"),
    (r"\lfloor 2.5 \rfloor", "2"),
    (r"\lceil 2.5 \rceil", "3"),
    ("floor(2.5)", "2"),
    (r"|-5|", "5"),
    (r"\log_2 8", "3"),
    (r"\sin(\pi/2)", "1"),
    (r"\sqrt{16}", "4"),
    ("2^{10}", "1024"),
    ("2^10", "1024"),
    ("2**10", "1024"),
    ("2+3", "5"),
    (r"37 \cdot 91", "3367"),
    (r"37 \times 91", "3367"),
    ("37*91", "3367"),
    (r"\frac{1}{2}+\frac{1}{4}", "3/4"),
    ("1/2 + 1/4", "0.75"),
    (r"\frac{\frac{1}{2}}{2}", "1/4"),
    ("6=5", "5"),
    ("2+3=5", "5"),
    ("x=6=5", "5"),
    (r"5 \approx 6", "5"),
    (r"5 \equiv 6", "5"),
    (r"5 \le 6", "5"),
    ("5'''", "5"),
    ("5'", "5"),
    ("5?", "5"),
    (r"2+3\text{ m}", r"5\text{ m}"),
    ("5; 6", "5"),
    (r"5\text{ or }6", "5"),
    (r"5 \lor 6", "5"),
    (r"\{1,2,3\} \cap \{2\}", r"\{2\}"),
    (r"\int 2x dx + 1", "x^2+1"),
    (r"\sum_{k=1}^n k", "n(n+1)/2"),
    ("n!", r"\Gamma(n+1)"),
    (r"\sqrt{2}\cos 0", r"\sqrt{2}"),
    (r"5 \text{ cm}", r"5\text{ m}"),
    ("٣", "3"),
    ("３", "3"),
    ("²", "2"),
]
WRONG = [
    ("0.0", r"\frac{1}{1073741824}"),
    ("0", r"\frac{\pi}{10^{12}}"),
    ("0", "0.0000001"),
    ("0.3333333", "1/3"),
    ("3.14159265358979", r"\pi"),
    (r"2\sqrt{3}+0.000000001", r"2\sqrt{3}"),
    (r"5\%", "5"),
    ("5", r"5\%"),
    ("1,2", "12"),
    ("12", "1,2"),
    ("1,23,456", "123456"),
    (",1", "1"),
    ("(1,2)", r"\{1,2\}"),
    (r"\{1,2\}", "(1,2)"),
    ("(2,1)", "(1,2)"),
    ("[1,2]", "(1,2)"),
    ("[1,2]", "[1,2)"),
    (r"\{1,2,3\}", r"\{1,2\}"),
    (r"\{1\}", r"\{1,2\}"),
    (r"\{1,1\}", r"\{1,2\}"),
    ("1, 2", "(1,2)"),
    (r"(1,2)\cup(3,5)", r"(1,2)\cup(3,4)"),
    ("x", "5"),
    ("y=5", "x=5"),
    ("x+1", "x"),
    ("x+y-y", "x"),
    ("B", "A"),
    ("X^2", "x^2"),
    (r"\sqrt{x^2}", "x"),
    (r"-\infty", r"\infty"),
    ("x>5", r"x \ge 5"),
    (r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("silent", "listen"),
    ("5 or 6", "5"),
    ("the answer is 5", "5"),
    ("__import__('os').system('exit 1')", "3"),
    ("{" * 1500, "3"),
    ("(" * 1500, "(1,2)"),
    ("", "3"),
    (" ", "x"),
    ("1" * 3000, "3"),
    ("1e9999", "3"),
    ("nan", "3"),
    ("inf", r"\infty"),
    ("None", "0"),
    ("-3", "3"),
    ("3 1/2", "31/2"),
    ("1:4", "1:3"),
    ("3:46", "3:45"),
    ("f''(x)", "f'(x)"),
    (r"6\text{ m}", r"5\text{ m}"),
    (r"5\text{ m}^2", r"5\text{ m}^3"),
    (r"x\text{ or }y", r"x\text{ and }y"),
    (r"0.\overline{3}", "0.3"),
    ("x^2", "2x"),
    ("73 million", "73"),
    ("73 or 74", "73"),
    (r"\text{ people}", "73"),
    ("5 m", "5"),
    (r"5\text{ cm}", r"\text{ cm}"),
    (r"(1,2)\cup\{4\}", r"\{3,4\}\cup(1,2)"),
    (r"\{1\}\cup\{2\}", r"\{1,2,3\}"),
    (r"\emptyset", "0"),
    (r"\mathrm{e}", r"\mathrm{i}"),
]
RIGHT = [
    ("42", "42"),
    (" 42. ", "42"),
    ("$42$", "42"),
    (r"\(42\)", "42"),
    ("+42", "42"),
    ("−42", "-42"),
    ("42.0", "42"),
    ("(42)", "42"),
    ("x = 42", "42"),
    ("42", "x = 42"),
    ("= 42", "42"),
    (r"f(x) = x^2", "x^2"),
    ("1,000", "1000"),
    (r"12\,345", "12345"),
    ("12{,}345", "12345"),
    ("1,234,567.5", "1234567.5"),
    (r"\frac{1}{2}", "0.5"),
    ("0.5", "1/2"),
    (".5", "1/2"),
    ("2/4", "1/2"),
    (r"\dfrac12", "1/2"),
    (r"-\frac{3}{4}", "-0.75"),
    (r"\frac{-3}{4}", "-3/4"),
    (r"3\frac{1}{2}", "7/2"),
    ("3 1/2", "3.5"),
    (r"5\%", "0.05"),
    ("5%", r"5\%"),
    (r"1.2 \times 10^{5}", "120000"),
    ("1.2e5", "120000"),
    ("10^5", "100000"),
    (r"90^\circ", "90"),
    (r"\$5", "5"),
    ("0.333333333", "0.3333333333"),
    (r"\{2,1\}", r"\{1,2\}"),
    ("2, 1", r"\{1,2\}"),
    ("x=2, x=-2", "2, -2"),
    (r"\pm 2", "-2, 2"),
    (r"3 \pm \sqrt{2}", r"3+\sqrt{2}, 3-\sqrt{2}"),
    (r"\left(1, \frac12\right)", "(1, 0.5)"),
    (r"x \in (1,2]", "(1,2]"),
    (r"(2,\infty) \cup (-\infty,1)", r"(-\infty,1)\cup(2,\infty)"),
    ("x**2 + 2x + 1", "(x+1)^2"),
    (r"\frac{n^2+n}{2}", "n(n+1)/2"),
    (r"\sqrt{12}", r"2\sqrt{3}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\frac{\sin x}{\cos x}", r"\tan x"),
    (r"\ln(xy)", r"\ln x + \ln y"),
    ("|x|", r"\sqrt{x^2}"),
    ("2x - y + 1 = 0", "y = 2x+1"),
    ("5 < x", "x > 5"),
    (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1&2\\3&4.0\end{pmatrix}"),
    (r"\int_0^1 f dx", r"\int_0^1 f dx"),
    ("7!", "7!"),
    (r"\binom{n}{2}", r"\binom{n}{2}"),
    ("paris.", "Paris"),
    (r"\text{(B)}", "B"),
    ("b", "B"),
    ("(b)", "B"),
    (r"\varnothing", r"\emptyset"),
    ("2π", r"2\pi"),
    ("1 : 3", "1:3"),
    (r"0.\overline{3}", "1/3"),
    (r"0.1\overline{6}", r"\frac16"),
    ("5", r"5\text{ m}"),
    (r"5.0\text{ m}", r"5\text{ m}"),
    (r"2x \text{ cm}", r"x + x\text{ cm}"),
    (r"x\text{ or } y", r"x \text{ or } y"),
    ("n(n-1)/2", r"\frac{n^2-n}{2}"),
    ("$73$.", "73"),
    (r"\(73\).", "73"),
    ("$$73$$", "73"),
    ("`73`", "73"),
    ('"73"', "73"),
    ("**$73$**.", "73"),
    (r"73\text{ people}", "73"),
    (r"73\,\mathrm{cm}^2", "73"),
    ("73 cm", "73"),
    ("73 seconds", "73"),
    ("73", r"73\text{ people}"),
    (r"1 - \frac{1}{e}", r"1 - \frac{1}{\mathrm{e}}"),
    (r"1 - \frac{1}{\mathrm{e}}", r"1 - \frac{1}{e}"),
    (r"\{1\}\cup\{2\}", r"\{1,2\}"),
    (r"\{1,2\}", r"\{1\}\cup\{2\}"),
    (r"\{1,2\}\cup\{3,2.0\}", r"\{1,2,3\}"),
    (r"\emptyset\cup\{1\}", r"\{1\}"),
    (r"(1,2)\cup\{4\}\cup\{3\}", r"\{3,4\}\cup(1,2)"),
    (r"\{\}", r"\emptyset"),
    ("∅", r"\{ \}"),
]


@pytest.mark.parametrize(("answer", "expected"), NOT_WORKED_OUT)
def test_what_is_not_worked_out_is_no_final_answer(answer: str, expected: str) -> None:
    found = same_answer(answer, expected, exact=False, tolerance=None)
    assert not found.right
    assert found.unfinished
    assert found.unfinished in answer


@pytest.mark.parametrize(("answer", "expected"), WRONG)
def test_wrong_answers_are_wrong(answer: str, expected: str) -> None:
    assert not same_answer(answer, expected, exact=False, tolerance=None).right


@pytest.mark.parametrize(("answer", "expected"), RIGHT)
def test_right_answers_are_right(answer: str, expected: str) -> None:
    assert same_answer(answer, expected, exact=False, tolerance=None).right


@pytest.mark.parametrize("tolerance", [1e-3, 1e9])
def test_a_tolerance_is_no_way_round(tolerance: float) -> None:
    for answer in ("many", "1,2", "x", "6=5", r"\int_0^1 x dx", "2+3", r"\sqrt{16}", "100!", "5'", "(12)(1)", ""):
        assert not same_answer(answer, "12", exact=False, tolerance=tolerance).right, answer


def test_exact_answers_and_tolerances() -> None:
    assert same_answer(" 0.5 ", "0.5", exact=True, tolerance=None).right
    assert not same_answer("1/2", "0.5", exact=True, tolerance=None).right
    assert same_answer(r"2\pi", "6.283", exact=False, tolerance=1e-3).right
    assert same_answer("6.284", "6.283", exact=False, tolerance=1e-3).right
    assert not same_answer("6.2841", "6.283", exact=False, tolerance=1e-3).right
    assert same_answer(r"(\ln 2, 3)", "(0.693, 3)", exact=False, tolerance=1e-3).right


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("6.2832", r"2\pi"),
        (r"2\pi", r"2\pi"),
        ("(3.1416, 2)", r"(\pi, 2)"),
        ("2.7183", "e"),
        ("1.414", r"\sqrt2"),
        ("0.632", r"1-\frac1e"),
    ],
)
def test_a_tolerance_holds_for_constants_too(answer: str, expected: str) -> None:
    assert same_answer(answer, expected, exact=False, tolerance=1e-3).right
    assert not same_answer("6.29", expected, exact=False, tolerance=1e-3).right
    assert same_answer(answer, expected, exact=False, tolerance=None).right is (answer == expected)


@given(st.fractions(), st.booleans())
def test_every_fraction_is_read_as_it_is_written(value: Any, latex: bool) -> None:
    text = rf"\frac{{{value.numerator}}}{{{value.denominator}}}" if latex else str(value)
    found = numeral(text)
    assert found is not None
    assert (found.value, found.rounded) == (value, False)


@given(st.text("0123456789.,/eE+-*^%{}()\\ frac", max_size=20))
def test_no_text_stops_the_reading_of_numbers(text: str) -> None:
    numeral(text)


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\}", "\\", "Answer:", "\n", "**", " ", "5", "</think>"])))
def test_whatever_is_found_stands_in_the_answer(parts: list[str]) -> None:
    text = "".join(parts)
    found = extract_answer(text)
    assert found is None or (found in text and found == found.strip())


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "\n",
            "\\boxed{",
            "\\boxed{}",
            "{",
            "}",
            "Answer: ",
            "\nAnswer:",
            "\nAnswer: *",
            "*",
            " ",
            "\r",
            "\\",
            "</think>",
        ),
        *("```", "```\n", "```python\n", "```\nx\n", "  ```\n", "`", "```\n    "),
        *("'''\n```\n", "```\n\\'''\n```\n", "# ```\n", "> ", "> ```\n> x\n", "~~~\n", "- ```\n", "````\n```\n", "\t"),
        *("<think>", "<think>\n", " </think> ", "`</think>`", "```md\n", "Answer:\n\n", "\n- Answer"),
    ],
)
@pytest.mark.parametrize("function", [extract_answer, extract_program])
def test_finding_the_answer_costs_twice_as_much_in_twice_the_text(
    function: Callable[[str], object], piece: str
) -> None:
    once, twice = (operations(function, piece * (count // len(piece))) for count in (4000, 8000))
    assert twice < 2.3 * once + 2000
