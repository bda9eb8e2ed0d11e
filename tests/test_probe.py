"""`ttsd probe`: its arithmetic on counts, and the bundled suite, whose pass rates are known."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from problems import micro
from tests.commands import attempts, finish, refused, rows, ttsd
from ttsd.running.hardness import Measured, Sample, write_subsets
from ttsd.running.hardness import rows as rows_of
from ttsd.running.probe import SHUFFLED, advice, feedback_rows, gap
from ttsd.statistics import proportion_interval

SETTINGS = ["--config", "micro", "--set", "model.sampler=transformers"]


def sample(attempts: int, successes: int, tokens: float = 100.0, visible: float = 0.0) -> Sample:
    right = tuple(number < successes for number in range(attempts))
    return Sample(right, tuple(1.0 if one else visible for one in right), tokens)


def measured(question: str, attempts: int, successes: int, tokens: float = 100.0) -> Measured:
    return Measured(question, sample(attempts, successes, tokens))


def test_bands_and_interval() -> None:
    none, some, most = measured("a", 64, 0), measured("b", 3000, 3), measured("c", 64, 32)
    rare, few = measured("d", 6400, 1), measured("e", 8, 1)
    assert [one.band for one in (none, some, most, rare, few)] == ["very-hard", "hard", "easy", "very-hard", "easy"]
    assert some.pass_at_64 == pytest.approx(1 - (1 - 64 / 3000) ** 3, rel=0.02)
    for one in (none, some, most, rare, few):
        assert one.interval.low <= one.pass_at_64 <= one.interval.high
    assert [one.certain for one in (none, rare, measured("e", 99_999, 1), few)] == [False, False, True, True]
    assert rows_of([some])[0]["pass@64"] == pytest.approx(some.pass_at_64, abs=5e-4)


def probed(without: float, *, feedback: float, shuffled: float | None = None) -> list[Measured]:
    """Four questions, 32 attempts each, that pass this share of the visible cases; one in 16 is accepted."""
    shares = {"multi-turn": feedback} | ({} if shuffled is None else {SHUFFLED: shuffled})
    return [
        Measured(
            f"q{n}", sample(32, 2, visible=without), {name: sample(32, 2, visible=v) for name, v in shares.items()}
        )
        for n in range(4)
    ]


@pytest.mark.parametrize(
    ("feedback", "shuffled", "part"),
    [
        (0.5, 0.3, "feedback helps this model: use multi-turn+sdpo"),
        (0.3, 0.3, "adds nothing that shows for"),
        (0.1, 0.1, "feedback hurts this model"),
        (0.5, 0.5, "shuffled feedback helps as much"),
    ],
)
def test_advice_follows_the_feedback_and_its_control(feedback: float, shuffled: float, part: str) -> None:
    assert part in advice(probed(0.3, feedback=feedback, shuffled=shuffled))


def test_a_model_that_feedback_does_not_help_is_to_be_taught_first() -> None:
    for feedback, shuffled in ((0.3, 0.3), (0.1, 0.1), (0.5, 0.5)):
        assert "`ttsd warm-up`" in advice(probed(0.3, feedback=feedback, shuffled=shuffled))
    assert "warm-up" not in advice(probed(0.3, feedback=0.5, shuffled=0.3))


def test_the_gap_is_what_true_feedback_adds_to_shuffled_feedback() -> None:
    found = [
        Measured(f"q{n}", sample(8, 1), {"multi-turn": sample(8, 6), SHUFFLED: sample(8, right)})
        for n, right in enumerate((2, 2, 4, 4))
    ]
    one = gap([*found, Measured("lone", sample(8, 1), {"multi-turn": sample(8, 8)})])
    assert one is not None
    assert one.difference == pytest.approx(3 / 8)
    assert one.bounds.low > 0
    assert gap([measured("q", 8, 8)]) is None


def test_a_few_questions_or_none_with_feedback_prove_nothing() -> None:
    assert "too few to say" in advice(probed(0.3, feedback=0.9)[:3])
    assert "nothing can be said" in advice([Measured("q", sample(8, 8))])


def test_a_row_has_each_kind_of_prompt_with_what_it_adds() -> None:
    plain, true, shuffled = feedback_rows(probed(0.3, feedback=0.5, shuffled=0.3))
    assert [row["method"] for row in (plain, true, shuffled)] == ["best-of-k", "multi-turn", SHUFFLED]
    assert (plain["attempts"], plain["more visible"]) == (128, None)
    difference, low, high = true["more visible"]
    assert low <= difference <= high
    assert difference > 0.1
    assert shuffled["more visible"] == [0.0, 0.0, 0.0]


def test_subset_files_are_what_batch_takes(tmp_path: Path) -> None:
    found = [measured('FILE"é.jsonl#1', 64, 0), measured("b", 6400, 200), measured("c", 3000, 3)]
    files = write_subsets(found, tmp_path / "mine.toml")
    listed = {file.name: tomllib.loads(file.read_text("utf-8"))["questions"] for file in files}
    assert listed == {
        "mine-easy.toml": ["b"],
        "mine-hard.toml": ['FILE"é.jsonl#1', "c"],
        "mine-very-hard.toml": ['FILE"é.jsonl#1'],
    }
    assert [file.name for file in write_subsets(found[1:2], tmp_path / "other.toml")] == ["other-easy.toml"]


@pytest.mark.slow
def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    assert "nosubset" in refused(ttsd("probe", "nosubset", cwd=tmp_path))
    assert "no/folder" in refused(ttsd("probe", "micro-demo", "--out", "no/folder/x.toml", cwd=tmp_path))


@pytest.mark.slow
def test_known_pass_rates_are_within_the_interval_and_nothing_is_sampled_twice(tmp_path: Path) -> None:
    recorded = micro.lists()["micro-hard"]
    questions = sorted(recorded, key=recorded.__getitem__)[-2:]
    command = ["probe", *questions, *SETTINGS, "--feedback-samples", "4", "--json"]
    status, out, err = finish(*command, "--samples", "128", "--out", "mine.toml", cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out)
    assert [row["question"] for row in answer["questions"]] == questions
    for row in answer["questions"]:
        low, high = proportion_interval(row["successes"], row["attempts"], 0.999)
        assert low <= recorded[row["question"]] <= high
    assert attempts(tmp_path / "ttsd.sqlite") == 256 + 2 * 2 * 4
    assert [row["method"] for row in answer["feedback"]] == ["best-of-k", "multi-turn", SHUFFLED]
    assert answer["advice"]
    assert {name for file in answer["files"] for name in tomllib.loads((tmp_path / file).read_text())["questions"]}

    status, out, err = finish(*command, "--samples", "64", cwd=tmp_path)
    again = json.loads(out)
    assert status == 0, err
    assert again["questions"] == answer["questions"]  # a smaller probe of the same reads what is there
    assert attempts(tmp_path / "ttsd.sqlite") == 256 + 2 * 2 * 4
    shown = rows(tmp_path / "ttsd.sqlite", "select method, count(*) from runs group by method order by method")
    assert shown == [("best-of-k", 2), ("multi-turn", 4)]
