"""`ttsd probe`: its arithmetic on counts, and the bundled suite, whose pass rates are known."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from ttsd.running.advice import advice, proposed, write_config
from ttsd.running.self_teacher import DIAGNOSIS_TEMPLATE

from problems import micro
from tests.commands import attempts, finish, refused, rows, ttsd
from ttsd.config import Config, load_config
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_view
from ttsd.reporting.report.record import read
from ttsd.running.hardness import Drawn, Measured, estimates, write_subsets
from ttsd.running.hardness import rows as rows_of

SETTINGS = ["--config", "micro", "--set", "model.sampler=transformers"]


def drawn(attempts: int, successes: int, tokens: float = 100.0, visible: float = 0.0) -> Drawn:
    right = tuple(number < successes for number in range(attempts))
    return Drawn(right, tuple(1.0 if one else visible for one in right), tokens)


def measured(question: str, attempts: int, successes: int, tokens: float = 100.0) -> Measured:
    return Measured(question, drawn(attempts, successes, tokens))


def test_bands_and_interval() -> None:
    none, some, most = measured("a", 64, 0), measured("b", 3000, 3), measured("c", 64, 32)
    rare, few = measured("d", 6400, 1), measured("e", 8, 1)
    assert [one.band for one in (none, some, most, rare, few)] == ["very-hard", "hard", "easy", "very-hard", "easy"]
    assert some.pass_at_64 == pytest.approx(1 - (1 - 64 / 3000) ** 3, rel=0.02)
    for one in (none, some, most, rare, few):
        assert one.interval().low <= one.pass_at_64 <= one.interval().high
    assert [one.certain for one in (none, rare, measured("e", 99_999, 1), few)] == [False, False, True, True]
    assert rows_of([some])[0]["pass@64"] == pytest.approx(some.pass_at_64, abs=5e-4)


def test_costs_count_what_chance_would_need() -> None:
    found = [measured("a", 64, 0, 100.0), measured("b", 64, 32, 10.0)]
    lucky, spent = estimates(found, 3.6, 1000)
    assert lucky.attempts == pytest.approx(1002)
    assert lucky.tokens == pytest.approx(100_020)
    assert (spent.attempts, spent.hours) == (2000, pytest.approx(2.0))
    assert estimates(found, None, 10)[0].hours is None


def probed(without: float, **forms: float) -> list[Measured]:
    """Four questions, 32 attempts each, that pass this share of the visible cases in each form; one in 16 succeeds."""
    return [
        Measured(f"q{n}", drawn(32, 2, visible=without), {name: drawn(32, 2, visible=v) for name, v in forms.items()})
        for n in range(4)
    ]


def test_advice_says_which_form_helps_and_the_configuration_has_it() -> None:
    found = probed(0.3, feedback=0.3, shuffled=0.3, several=0.5)
    assert advice(found).startswith("feedback helps this model: with feedback on up to four failed attempts")
    assert proposed(Config(), found) == {"reprompt": {"feedback_blocks": 4}}
    assert proposed(Config(), probed(0.3, feedback=0.5, shuffled=0.3)) == {}


@pytest.mark.parametrize(
    ("forms", "part"),
    [
        ({"feedback": 0.3, "shuffled": 0.3}, "adds nothing that shows"),
        ({"feedback": 0.1, "shuffled": 0.1}, "feedback hurts this model"),
        ({"feedback": 0.5, "shuffled": 0.5}, "another question's feedback helps as much"),
    ],
)
def test_advice_against_feedback_proposes_rewards(forms: dict[str, float], part: str) -> None:
    found = probed(0.3, **forms)
    assert part in advice(found)
    assert proposed(Config(), found)["reprompt"]["reward"] == "visible-fraction"
    assert proposed(Config(), found)["sampling"] == {"teacher_fraction": 0.0}


def test_a_few_attempts_prove_nothing() -> None:
    found = [Measured("q", drawn(8, 0), {"feedback": drawn(8, 1)})]
    assert "adds nothing that shows" in advice(found)
    assert "nothing can be said" in advice([Measured("q", drawn(8, 8))])


def test_the_proposed_configuration_is_one(tmp_path: Path) -> None:
    config = load_config("micro", ["reprompt.multi_turn_window=4", "model.sampler=transformers"])
    file = write_config(config, probed(0.3, feedback=0.1, diagnosis=0.6), tmp_path / "mine.toml")
    assert file.name == "mine-config.toml"
    loaded = load_config(str(file))
    wanted = config.reprompt.model_dump() | {"feedback_blocks": 1, "reprompt_template": DIAGNOSIS_TEMPLATE}
    assert loaded.reprompt.model_dump() == wanted
    assert loaded.sampling == config.sampling


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
def test_known_pass_rates_are_within_the_interval_and_nothing_is_drawn_twice(tmp_path: Path) -> None:
    recorded = {name: micro.p_solve(name) or 0.0 for name in micro.subset("micro-hard")}
    questions = sorted(recorded, key=recorded.__getitem__)[-2:]
    command = ["probe", *questions, *SETTINGS, "--teacher-samples", "4", "--json"]
    status, out, err = finish(*command, "--samples", "128", "--out", "mine.toml", cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out)
    assert [row["question"] for row in answer["questions"]] == questions
    for row in answer["questions"]:
        wide = measured(row["question"], row["attempts"], row["successes"]).interval(1, level=0.999)
        assert wide.low <= recorded[row["question"]] <= wide.high
    assert answer["seconds_per_attempt"] > 0
    assert attempts(tmp_path / "ttsd.sqlite") == 256 + 2 * 2 * 4
    assert [row["hindsight"] for row in answer["hindsight"]] == ["none", "feedback", "shuffled"]
    assert answer["advice"]
    subsets = [file for file in answer["files"] if not file.endswith("-config.toml")]
    assert {name for file in subsets for name in tomllib.loads((tmp_path / file).read_text())["questions"]}

    status, out, err = finish(*command, "--samples", "64", "--teacher-samples", "0", cwd=tmp_path)
    again = json.loads(out)
    assert (status, again["seconds_per_attempt"]) == (0, None), err
    assert [row["successes"] for row in again["questions"]] == [row["successes"] for row in answer["questions"]]
    assert again["hindsight"] == again["hindsight"][:1]
    assert rows(tmp_path / "ttsd.sqlite", "select count(*) from attempts where role != 'student'") == [(16,)]

    with Store(tmp_path / "ttsd.sqlite") as store:
        taught = {row["run"]: row for row in store.runs() if row["method"].startswith("self-teacher")}
        assert not {run.run for run in read(store).runs} & set(taught)
        views = {run: attempt_view(store, run, 2) for run in taught}
        read_by = {run: row["environment"]["feedback_of"]["run"] for run, row in taught.items()}
        own = {run: store.run(source)["question"] == taught[run]["question"] for run, source in read_by.items()}
    assert {taught[run]["method"]: same for run, same in own.items()} == {
        "self-teacher (feedback)": True, "self-teacher (shuffled)": False,
    }  # fmt: skip
    assert {view.remark for view in views.values()} == {""}
    assert all(view.asked != view.student_prompt for view in views.values())
