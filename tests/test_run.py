"""A run as one value: what makes it the same run, what is resumed, and what is finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from problems.checker import Checker
from tests.records import attempt, passed, problem, run_of
from tests.tiny import write_model
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.nouns import Case, Step
from ttsd.record.run import Run, adapter_digest
from ttsd.record.store import Store

CONFIG = load_config("micro")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.sqlite") as opened:
        yield opened


def add(store: Store, run: Run, attempts: int) -> int:
    number = store.new_run(run, {})
    for made in range(1, attempts + 1):
        store.add_attempt(number, attempt(made))
    return number


def test_a_fingerprint_is_of_all_that_binds_a_run() -> None:
    run = run_of(config=CONFIG)
    free = CONFIG.changed("budget", attempts=9, tokens=9, seconds=9.0).changed("store", path="x", state_dir="y")
    assert run_of(config=free.changed("judge", slots=7)).fingerprint == run.fingerprint
    others = [
        run_of("other", config=CONFIG),
        run_of(method="grpo", config=CONFIG),
        run_of(seed=9, config=CONFIG),
        run_of(config=CONFIG.changed("lora", lr=0.5)),
        run_of(config=CONFIG.changed("budget", continue_after_discovery=True)),
    ]
    assert len({one.fingerprint for one in (run, *others)}) == 6


def test_a_question_that_was_changed_is_another_run_and_its_title_and_judges_file_are_free() -> None:
    asked = replace(problem("q"), judge=None, checker=Checker("own", program="/a/check.py"))
    same = replace(asked, title="other", checker=Checker("own", program="/b/check.py"))
    assert Run(same, CONFIG).fingerprint == Run(asked, CONFIG).fingerprint
    others = [
        replace(asked, statement="Print it tripled."),
        replace(asked, cases=(Case("4", "12"),)),
        replace(asked, checker=Checker("floats", absolute=1e-6)),
        replace(asked, time_limit_seconds=9.0),
    ]
    assert len({Run(one, CONFIG).fingerprint for one in (asked, *others)}) == 5


def test_the_adapter_that_a_run_starts_from_binds_it_by_its_contents(tmp_path: Path) -> None:
    file, config = tmp_path / "adapter_model.safetensors", CONFIG.changed("lora", init=str(tmp_path))
    with pytest.raises(UserError, match="ttsd warm-up"):
        _ = run_of(config=config).fingerprint
    found = set()
    for contents in (b"one", b"two"):
        file.write_bytes(contents)
        adapter_digest.cache_clear()
        found.add(run_of(config=config).fingerprint)
    assert len({*found, run_of(config=CONFIG).fingerprint}) == 3


def test_a_run_is_called_by_question_method_and_seed() -> None:
    assert str(run_of()) == "micro:x sdpo seed 3"
    with pytest.raises(UserError, match="no method 'ppo'"):
        _ = Run(problem("q"), CONFIG.model_copy(update={"method": "ppo"})).method


def test_a_stopped_run_is_found_again_and_others_are_not(store: Store) -> None:
    number, other = add(store, run_of(config=CONFIG), 3), run_of(config=CONFIG.changed("lora", lr=0.5))
    found = store.newest(run_of(config=CONFIG))
    assert found is not None
    assert found["run"] == number
    assert store.settled(found, run_of(config=CONFIG)) is None
    assert store.newest(other) is None


def test_a_larger_budget_resumes_and_the_same_one_is_finished(store: Store) -> None:
    run = run_of(config=CONFIG.changed("budget", attempts=4))
    number = add(store, run, 4)
    store.finish(number, "attempts")
    answer = store.settled(store.run(number), run)
    assert answer is not None
    assert (answer.run, answer.ended) == (number, "attempts")
    assert store.settled(store.run(number), run_of(config=CONFIG.changed("budget", attempts=5))) is None


def test_a_run_that_a_budget_of_tokens_ended_wants_a_larger_one(store: Store) -> None:
    def allowed(tokens: int | None) -> Run:
        return run_of(config=CONFIG.changed("budget", tokens=tokens))

    number = add(store, allowed(50), 3)
    store.finish(number, "tokens")
    assert store.settled(store.run(number), allowed(50)) is not None
    assert [store.settled(store.run(number), allowed(more)) for more in (80, None)] == [None, None]


def test_a_run_that_was_stopped_right_after_its_discovery_is_closed(store: Store) -> None:
    run = run_of(config=CONFIG)
    number = store.new_run(run, {})
    store.add_step(number, Step(1, (attempt(1, verdict=passed()),), 0), None, {})
    answer = store.settled(store.run(number), run)
    assert answer is not None
    assert (answer.discovered, answer.ended, store.run(number)["status"]) == (True, "discovery", "discovered")
    going_on = run_of(config=CONFIG.changed("budget", continue_after_discovery=True))
    assert store.settled(store.run(number), going_on) is None


def test_settings_of_another_version_are_a_sentence() -> None:
    from ttsd.config import recorded_config

    assert recorded_config(Config().model_dump()) == Config()
    with pytest.raises(UserError, match=r"another version of ttsd.*reading_window"):
        recorded_config(Config().model_dump() | {"sampling": {"reading_window": 64}})


def test_the_limits_and_the_division_of_the_settings_are_the_runs() -> None:
    from ttsd.judging.sandbox_settings import limits_of, open_sandbox

    config = CONFIG.changed("judge", split="half", output_mib=2, unsafe_no_sandbox=True)
    many = replace(problem("q"), cases=tuple(Case(str(n), str(n)) for n in range(20)), judge=None)
    assert len(Run(many, config).split.visible) == 10
    assert limits_of(config).output_bytes == 2 << 20
    assert open_sandbox(config)._unsafe


def test_a_run_keeps_its_weights_and_its_date(store: Store, tmp_path: Path) -> None:
    from ttsd.backbone import Tokenizer, weights_digest
    from ttsd.running.run import as_begun

    tokenizer = Tokenizer.load(str(write_model(tmp_path / "a")))
    begun = {"weights": weights_digest(str(tmp_path / "a")), "date": "2024-02-29"}
    recorded = store.past(store.new_run(run_of(config=CONFIG), begun)).environment
    assert as_begun(recorded, begun, tokenizer).today == date(2024, 2, 29)
    other = weights_digest(str(write_model(tmp_path / "b", seed=1)))
    with pytest.raises(UserError, match="other weights, settings or another tokenizer than when this run began"):
        as_begun(recorded, {**begun, "weights": other}, tokenizer)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_is_one_that_every_sampler_takes(seed: int) -> None:
    with pytest.raises(UserError, match="0 to 4294967295"):
        run_of(seed=seed)


@pytest.mark.parametrize("label", ["bad\udcff", "two\nlines", "\x1b[2J"])
def test_a_label_can_be_printed_in_one_line(label: str) -> None:
    with pytest.raises(UserError, match="can't be printed"):
        replace(run_of(), label=label)
