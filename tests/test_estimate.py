"""What runs are said to cost before they begin, and the prompts that a dry run shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import pytest

import problems
from tests.commands import ttsd
from tests.fakes import ScriptedPolicy, judge_by_word
from ttsd.backbone import Tokenizer
from ttsd.config import Config, load_config
from ttsd.loop import START, Past, learn
from ttsd.machine.cards import CARDS, GIB, card_called, cpu_with
from ttsd.machine.memory import Found
from ttsd.machine.shape import KNOWN
from ttsd.machine.step_time import Span
from ttsd.methods import BEST_OF_K, GRPO, SDPO
from ttsd.nouns import Attempt, Step
from ttsd.record.protocol import Spent
from ttsd.record.resume import Job, unfinished
from ttsd.record.store import Store
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import UNSPENT, Estimate, Machine, Pace, announcement, cost_of, estimate
from ttsd.running.preview import first_prompts
from ttsd.running.readings import group_size_of, readings_of, rounds_of
from ttsd.running.tasks import Task, Wanted, plan

QUESTION = "micro:numbers:5:7"
SETTINGS = ["model.sampler=transformers", "budget.attempts=64"]
PACE = Pace(Span(1.0, 2.0), Span(100.0, 100.0), "known")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(load_config("micro-cpu"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "t.sqlite") as opened:
        yield opened


def micro(*settings: str) -> Config:
    return load_config("micro-cpu", [*SETTINGS, *settings])


def task(config: Config, method: str = "sdpo", store: Store | None = None) -> Task:
    job = Job(QUESTION, method, 0)
    return Task(Wanted(job, config), problems.load(QUESTION), unfinished(store, job, config) if store else None)


def recorded(store: Store, config: Config, method: str, events: list[Attempt | Step], cores: str | None = None) -> int:
    environment = {} if cores is None else {"cores": cores}
    run = store.new_run(
        **asdict(Job(QUESTION, method, 0)), model=config.model.path, config=config.model_dump(), split={},
        environment=environment,
    )  # fmt: skip
    for event in events:
        if isinstance(event, Step):
            store.add_step(run, event, None)
        else:
            store.add_attempt(run, event)
    return run


async def replayed(
    config: Config, tokenizer: Tokenizer, wanted: int, past: Past = START
) -> tuple[ScriptedPolicy, list[Attempt | Step]]:
    """The loop as a run has it, until `wanted` attempts were requested."""
    policy, events = ScriptedPolicy(f"wrong {n}" for n in count()), list[Attempt | Step]()
    running = learn(
        policy, judge_by_word, readings_of(SDPO, problems.load(QUESTION), tokenizer, config),
        group_size=group_size_of(SDPO, config), budget=config.budget.attempts, rounds=rounds_of(SDPO, config),
        enough=lambda: policy.requested >= wanted, past=past,
    )  # fmt: skip
    async for event in running:
        if isinstance(event, Step):
            event = replace(event, seconds={**event.seconds, "sample": 8.0, "judge": 2.0, "train": 4.0})
        events.append(event)
    return policy, events


async def of(tasks: list[Task], store: Store, tokenizer: Tokenizer) -> Estimate:
    return await estimate(tasks, tasks[0].wanted.config, store, tokenizer)


async def test_without_a_record_it_is_computed_for_this_machine(store: Store, tokenizer: Tokenizer) -> None:
    found = await of([task(micro())], store, tokenizer)
    assert found.sources[0].startswith("computed for ")
    assert (found.cost.runs, found.cost.attempts) == (1, Span(8.0, 64.0))
    assert found.cost.seconds is not None
    assert 0 < found.cost.seconds.low < found.cost.seconds.high
    assert "trainer" in found.memory
    frozen = await of([task(micro("model.sampler=vllm"), "best-of-k")], store, tokenizer)
    assert "trainer" not in frozen.memory


async def test_attempts_in_the_record_say_what_one_takes(store: Store, tokenizer: Tokenizer) -> None:
    config = micro()
    _, events = await replayed(config, tokenizer, 24)
    first = next(at for at, one in enumerate(events) if isinstance(one, Step))
    warming_up = events[first]
    assert isinstance(warming_up, Step)
    events[first] = replace(warming_up, seconds={**warming_up.seconds, "sample": 800.0})
    recorded(store, config, "sdpo", events)
    store.finish(1, "attempts")
    found = await of([task(config)], store, tokenizer)
    assert found.sources == ("as 24 attempts of sdpo in this record",)
    # Steps of eight attempts: sampling alone took a second an attempt, everything together 14 / 8.
    assert found.cost.seconds == Span(8 * 1.0, 64 * 14 / 8)
    tokens = [
        one.completion.prompt_tokens + len(one.completion.token_ids) for one in events if isinstance(one, Attempt)
    ]
    assert found.cost.tokens.high == pytest.approx(64 * sum(tokens) / 24)


@pytest.mark.parametrize("change", ["sampling.max_tokens=64", "sampling.group_size=4", "model.sampler=vllm"])
async def test_attempts_under_other_limits_say_nothing(store: Store, tokenizer: Tokenizer, change: str) -> None:
    _, events = await replayed(micro(), tokenizer, 8)
    recorded(store, micro(), "sdpo", events)
    store.finish(1, "attempts")
    assert (await of([task(micro(change))], store, tokenizer)).sources[0].startswith("computed for ")


async def test_attempts_on_another_machine_say_nothing(store: Store, tokenizer: Tokenizer) -> None:
    _, events = await replayed(micro(), tokenizer, 8)
    recorded(store, micro(), "sdpo", events, cores="4096")
    store.finish(1, "attempts")
    assert (await of([task(micro())], store, tokenizer)).sources[0].startswith("computed for ")


def test_whichever_budget_ends_first_bounds_the_cost() -> None:
    assert cost_of(micro(), UNSPENT, None, PACE).attempts == Span(8.0, 64.0)
    assert cost_of(micro(), Spent(60, 0, 0.0), None, PACE).attempts == Span(4.0, 4.0)
    in_time = cost_of(micro("budget.seconds=20"), Spent(0, 0, 10.0), None, PACE)
    assert (in_time.attempts.high, in_time.seconds) == (10.0, Span(8.0, 10.0))
    in_tokens = cost_of(micro("budget.tokens=3000"), Spent(0, 1000, 0.0), None, PACE)
    assert (in_tokens.attempts.high, in_tokens.tokens.high) == (20.0, 2000.0)


def test_a_known_chance_shortens_what_is_expected() -> None:
    likely, unlikely = (cost_of(micro(), UNSPENT, p, PACE).attempts for p in (0.5, 0.01))
    assert likely.high < 2.1
    assert unlikely.high > 40


def test_cards_are_known_by_what_cuda_calls_them() -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090", "NVIDIA L4", "NVIDIA L40S")
    keys = ("h100-80", "a100-80", "rtx4090-24", "l4-24", "l40s-48")
    assert [card_called(name, CARDS[key].gib) for name, key in zip(names, keys, strict=True)] == [*map(CARDS.get, keys)]
    assert card_called("NVIDIA GeForce GTX 970", 4) is None
    assert cpu_with(16, 64).tflops == 2 * CARDS["laptop-cpu"].tflops


def test_learning_costs_more_than_guessing_and_an_unknown_card_gives_no_time() -> None:
    found, sizes = Found(79 * GIB, 200 * GIB, "NVIDIA H100 80GB HBM3"), KNOWN["Qwen/Qwen3-8B"]
    machine = Machine(found, found.as_fast_card(), sizes, 1, Span(2000.0, 2000.0))
    learnt, guessed = (machine.pace(method, Config(), 700).seconds for method in (GRPO, BEST_OF_K))
    assert learnt is not None
    assert guessed is not None
    assert learnt.low > guessed.low
    unknown = Found(79 * GIB, 200 * GIB, "NVIDIA Z1000")
    pace = Machine(unknown, unknown.as_fast_card(), sizes, 1, Span(2000.0, 2000.0)).pace(GRPO, Config(), 700)
    assert pace.seconds is None
    assert "an unknown time" in str(cost_of(Config(), UNSPENT, None, pace))


async def test_a_model_without_a_plan_is_no_reason_not_to_begin(
    store: Store, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    strange = micro(f"model.path={tmp_path}")
    assert (await announcement([task(strange)], strange, store, tokenizer)).startswith(
        "no estimate: the model's config"
    )


@pytest.mark.parametrize("made", [0, 3, 8, 11])
async def test_the_prompts_shown_are_those_that_the_run_then_reads(
    store: Store, tokenizer: Tokenizer, made: int
) -> None:
    """Also of a run that was stopped within a step."""
    config = micro()
    if made:
        _, events = await replayed(config, tokenizer, made)
        on_disk = [one for one in events if isinstance(one, Attempt) and one.attempt <= made]
        steps = [one for one in events if isinstance(one, Step) and len(one.rollouts) == 8]
        recorded(store, config, "sdpo", [*on_disk, *steps])
    shown = first_prompts([task(config, store=store)], tokenizer, store)
    policy, _ = await replayed(config, tokenizer, 1, store.past(1)[0] if made else START)
    reads = dict.fromkeys(policy.read[: sum(len(prompt.attempts) for prompt in shown)])
    assert [tokenizer.whole_text(ids) for ids in reads] == [prompt.text for prompt in shown]
    assert shown[0].attempts[0] == made + 1


def test_a_prompt_that_many_runs_read_is_shown_once(store: Store, tokenizer: Tokenizer) -> None:
    config = micro()
    wanted = plan([QUESTION], ["grpo", "best-of-k"], 2, config)
    shown = first_prompts([Task(one, problems.load(QUESTION), None) for one in wanted], tokenizer, store)
    (prompt,) = shown
    assert prompt.runs == tuple(map(str, wanted))
    assert prompt.attempts == tuple(range(1, 9))
    assert prompt.text.startswith("<|user|>")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "batch"])
def test_a_dry_run_starts_and_writes_nothing(tmp_path: Path, command: str) -> None:
    asked = [command, QUESTION, "--config", "micro-cpu", "--dry-run"]
    ended = ttsd(*asked, "--json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    assert answer["estimate"]["cost"]["attempts"]["high"] >= 2048
    assert "Python program" in answer["prompts"][0]["text"]
    assert list(tmp_path.iterdir()) == []
    with Store(tmp_path / "ttsd.sqlite"):
        pass
    before = hashlib.sha256((tmp_path / "ttsd.sqlite").read_bytes()).digest()
    ended = ttsd(*asked, cwd=tmp_path)
    assert ended.stderr.startswith("estimate: ")
    assert "Python program" in ended.stdout
    assert hashlib.sha256((tmp_path / "ttsd.sqlite").read_bytes()).digest() == before
