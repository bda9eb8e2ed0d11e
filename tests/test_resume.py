"""What is resumed, what is finished, and which settings keep a run from being resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.records import rollout
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.record.resume import Job, changed_settings, finished, unfinished
from ttsd.record.store import Store

JOB = Job("q", "sdpo", 0)
CONFIG = load_config("micro-cpu")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.sqlite") as opened:
        yield opened


def add(store: Store, config: dict[str, Any], attempts: int) -> int:
    run = store.new_run(**asdict(JOB), model="m", config=config, split={}, environment={})
    for attempt in range(1, attempts + 1):
        store.add_attempt(run, rollout(attempt))
    return run


def other(**lora: object) -> Config:
    return CONFIG.model_copy(update={"lora": CONFIG.lora.model_copy(update=lora)})


def test_a_setting_that_an_old_record_does_not_know_counts_as_its_default() -> None:
    before = Config().model_dump()
    del before["budget"]["restart_after_collapse"], before["teacher"]
    assert changed_settings(before, Config()) == []
    teacher = Config().teacher.model_copy(update={"teacher_update_rate": 0.5})
    changed = changed_settings(before, Config().model_copy(update={"teacher": teacher}))
    assert changed == ["teacher.teacher_update_rate (0.01 before, now 0.5)"]


def test_a_run_that_was_stopped_is_resumed_and_other_settings_are_refused(store: Store) -> None:
    run = add(store, CONFIG.model_dump(), 3)
    found = unfinished(store, JOB, CONFIG)
    assert found is not None
    assert found["run"] == run
    with pytest.raises(UserError, match=r"lora\.lr .* now 0\.5.*--fresh"):
        unfinished(store, JOB, other(lr=0.5))


def test_a_run_without_attempts_binds_nobody(store: Store) -> None:
    add(store, CONFIG.model_dump(), 0)
    assert unfinished(store, JOB, other(lr=0.5)) is None
    assert unfinished(store, JOB, CONFIG) is not None


def test_a_larger_budget_resumes_and_the_same_one_is_finished(store: Store) -> None:
    run = add(store, CONFIG.model_dump(), CONFIG.budget.attempts)
    store.finish(run, "attempts")
    assert (unfinished(store, JOB, CONFIG), finished(store, JOB, CONFIG)) == (None, run)
    more = CONFIG.model_copy(update={"budget": CONFIG.budget.model_copy(update={"attempts": 9999})})
    resumed = unfinished(store, JOB, more)
    assert resumed is not None
    assert (resumed["run"], finished(store, JOB, more)) == (run, None)


def test_a_run_that_a_budget_of_tokens_ended_wants_a_larger_one(store: Store) -> None:
    def allowed(tokens: int | None) -> Config:
        return CONFIG.model_copy(update={"budget": CONFIG.budget.model_copy(update={"tokens": tokens})})

    run = add(store, allowed(50).model_dump(), 3)
    store.finish(run, "tokens")
    assert finished(store, JOB, allowed(50)) == run
    for more in (80, None):
        resumed = unfinished(store, JOB, allowed(more))
        assert resumed is not None
        assert resumed["run"] == run
