"""Hints of a stronger model: recorded with their attempts, counted, and read by the self-teacher alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import finish, refused, rows, ttsd
from tests.endpoint_server import Reply, Scripted, answer, piece, status, stream, usage
from tests.fakes import ScriptedPolicy, attempt, judge_by_word, method, text_of
from tests.records import begin
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.loop import learn
from ttsd.methods import METHODS
from ttsd.nouns import Attempt, Hint, Status, Step, Verdict
from ttsd.record.protocol import Spent
from ttsd.record.store import Store
from ttsd.running.budget import Meter
from ttsd.running.hints import HINT_TOKENS, WriteHint, hint_client, hint_writer

HINT = "Mind the empty list."


@asynccontextmanager
async def writer(*replies: Reply, **endpoint: float) -> AsyncIterator[tuple[WriteHint, Scripted]]:
    with Scripted(*replies).running() as server:
        sections = {
            "reprompt": {"hints": server.url, "hints_model": "m"},
            "endpoint": {"prompt_price": 1000, **endpoint},
        }
        async with hint_client(Config.model_validate(sections), learns=True) as client:
            assert client is not None
            yield hint_writer(client, "the question"), server


async def test_a_hint_is_asked_for_with_question_answer_and_feedback() -> None:
    thought = stream(piece(reasoning_content="hm"), piece(f" {HINT}\n", "stop"), usage(100, 20))
    async with writer(thought) as (write, server):
        failed = attempt(1, "<think>{draft}</think>print(0)", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="no"))
        assert await write(failed) == Hint(HINT, 120, 0.1)
        (asked,) = server.asked
        said = asked["messages"][0]["content"]
        assert all(part in said for part in ("the question", "print(0)", "no"))
        assert "draft" not in said
        assert asked["max_tokens"] == HINT_TOKENS
        assert {"temperature", "logprobs", "chat_template_kwargs"} & set(asked) == set()
        assert await write(attempt(2, "print(1)", Verdict(Status.ACCEPTED, 2, 2, 1, 1))) is None
        assert await write(attempt(3, "x", Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1, first_failure=2))) is None
        assert len(server.asked) == 1


async def test_a_hint_is_asked_for_again_and_given_up_in_one_sentence() -> None:
    failed = attempt(1, "print(0)", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="no"))
    again = {"Retry_After": "0"}
    faults = [status(429, **again), status(500, **again), stream(piece("x"), wait=30.0)]
    async with writer(*faults, answer(HINT), timeout_seconds=2) as (write, server):
        hint = await write(failed)
        assert hint is not None
        assert (hint.text, hint.tokens) == (HINT, 140)
        assert 0.1 < hint.dollars < 0.4  # what was cut off costs too
        assert len(server.asked) == 4
    async with writer(status(500, **again), retries=1) as (write, server):
        with pytest.raises(InfrastructureError, match="failed 2 times, at last so: status 500"):
            await write(failed)


async def learned(name: str, write: WriteHint | None) -> tuple[ScriptedPolicy, list[Attempt]]:
    """Two groups of two failures of the method."""
    policy = ScriptedPolicy(f"wrong {number}" for number in range(4))
    rules = replace(METHODS[name].rules(Config()), group_size=2, budget=4, hint=write)
    events = [event async for event in learn(policy, judge_by_word, method(name), rules)]
    return policy, [one for event in events if isinstance(event, Step) for one in event.attempts]


@pytest.mark.parametrize("name", ["sdpo", "multi-turn+sdpo"])
async def test_the_self_teacher_reads_the_hint_on_its_attempt_and_the_student_none(name: str) -> None:
    async def write(of: Attempt) -> Hint:
        return Hint(f"{HINT} {of.number}", 7)

    policy, attempts = await learned(name, write)
    assert [one.hint for one in attempts] == [Hint(f"{HINT} {number}", 7) for number in (1, 2, 3, 4)]
    plain, _ = await learned(name, None)
    assert policy.prompts == plain.prompts
    teachers = [(one.attempt, text_of(one.teacher)) for group in policy.learned for one in group]
    assert len(teachers) == 4
    for number, teacher in teachers:
        assert f"Hint:\n\n{HINT} {number}" in teacher
        assert teacher.count(HINT) == 1
        assert teacher.index(HINT) > teacher.index(f"wrong {number - 1} is wrong")
    without = [text_of(one.teacher) for group in plain.learned for one in group]
    shown = [text.replace(f"\n\nHint:\n\n{HINT} {number}", "") for number, text in teachers]
    assert shown == without


def test_a_hint_comes_back_with_its_attempt_and_counts(tmp_path: Path) -> None:
    verdict = Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="no")
    hinted = replace(attempt(1, "abc", verdict), hint=Hint(HINT, 100, 0.5))
    with Store(tmp_path / "t.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, hinted)
        store.add_attempt(run, attempt(2, "abc", verdict))
        assert store.attempts(run) == (hinted, attempt(2, "abc", verdict))
        assert store.spent(run) == Spent(2, 3 + 3 + 3 + 3 + 100, 0.0, 0.5)
    budget = {"budget": {"attempts": 9, "dollars": 0.5}, "endpoint": {"prompt_price": 1}}
    meter = Meter(Config.model_validate(budget).budget, Spent())
    meter.add(attempt(2, "abc", verdict))
    assert meter.ended_by() is None
    meter.add(hinted)
    assert (meter.ended_by(), meter.made_tokens) == ("dollars", 112)


@pytest.fixture
def secretive(tmp_path: Path) -> str:
    """A question whose hidden cases have words that are nowhere else."""
    folder = tmp_path / "secretive"
    folder.mkdir()
    (folder / "statement.md").write_text("# Colours\n\nPrint the number of the colour.\nred: 1\n")
    cases = [("red", "1", "true"), ("blue", "2", "true"), ("sentinelgiven", "sentinelwanted", "false")]
    (folder / "cases.toml").write_text(
        "".join(f"[[case]]\ninput = '{given}'\nexpected = '{out}'\npublic = {public}\n" for given, out, public in cases)
    )
    return str(folder)


@pytest.mark.slow
def test_a_run_learns_with_hints_and_resumes_with_them(tmp_path: Path, secretive: str) -> None:
    hint = answer(HINT, prompt=30, completion=10)
    with Scripted(hint, status(500), hint).running() as server:
        settings = ["model.sampler=transformers", "sampling.group_size=2", f"reprompt.hints={server.url}"]
        settings += ["endpoint.prompt_price=1", "judge.split=public"]
        chosen = [part for one in settings for part in ("--set", one)]
        command = ["solve", secretive, "--config", "micro", "--method", "sdpo", *chosen]
        unnamed = refused(ttsd(*command, cwd=tmp_path))
        assert "reprompt.hints_model is none; name a model that" in unnamed
        command += ["--set", "reprompt.hints_model=m", "--json", "--set"]
        code, out, err = finish(*command, "budget.attempts=2", "--set", "endpoint.retries=0", cwd=tmp_path)
        assert (code, out) == (3, ""), err
        # Of two requests at once, the first fault is named: the status, or the connection that it cut.
        assert "failed 1 times, at last so: " in err.splitlines()[-1]
        for budget in (2, 4):
            code, out, err = finish(*command, f"budget.attempts={budget}", cwd=tmp_path)
            assert (code, json.loads(out)["run"], json.loads(out)["attempts"]) == (1, 1, budget), err
        asked = len(server.asked)
        assert asked in (5, 6)  # four attempts, the failure, and the one that was under way then
        assert "sentinel" not in json.dumps(server.asked)
        best_of_k = [*command[: command.index("sdpo")], "best-of-k", *chosen, "--set", "budget.attempts=2"]
        assert finish(*best_of_k, cwd=tmp_path)[0] == 1
        assert len(server.asked) == asked  # nobody reads hints there
    database = tmp_path / "ttsd.sqlite"
    assert (
        rows(database, "select hint, hint_tokens, hint_dollars, dollars from attempts where run = 1")
        == [(HINT, 40, 3e-5, None)] * 4
    )
    with Store.read_only(database) as store:
        found = [store.example(1, number) for number in (1, 2, 3, 4)]
        assert all(one and one[0].teacher and HINT in one[0].teacher.text for one in found)
        assert all(HINT not in one.prompt.text for one in store.attempts(1))
    assert f"--- hint ---\n{HINT}" in ttsd("show", "1", "--attempt", "2", cwd=tmp_path).stdout
    assert json.loads(ttsd("show", "1", "--attempt", "2", "--json", cwd=tmp_path).stdout)["hint"] == HINT
