"""Looking at attempts and steps, and taking an adapter out, on a run that a tiny model really learnt from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import problems
from tests.fakes import ScriptedPolicy, judge_by_word
from tests.tiny import write_model
from ttsd.backbone import Tokenizer
from ttsd.baselines import Frozen
from ttsd.config import Config, Reprompt, load_config
from ttsd.errors import UserError
from ttsd.loop import Rounds, learn
from ttsd.nouns import Attempt, Completion, Status, Step, Verdict
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_view, step_view
from ttsd.reporting.export import card, export
from ttsd.reporting.report.attempt_page import attempt_page
from ttsd.reporting.show import attempt_text, difference_text, run_text, step_text
from ttsd.reporting.token_scores import recorded_tokens, scored_tokens, token_rows, tokens_of
from ttsd.running.readings import conversation, teaching
from ttsd.training.trainer import Trainer

STATEMENT = "Print the sum of the two numbers."
ANSWER = "```python\nprint(<1>)\n```"


@dataclass(frozen=True)
class World:
    store: Store
    run: int
    trainer: Trainer
    config: Config


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions") / "sum"
    folder.mkdir()
    (folder / "statement.md").write_text(f"# Sum\n\n{STATEMENT}\n")
    (folder / "cases.toml").write_text('[[case]]\ninput = "1 2\\n"\nexpected = "3\\n"\n')
    return folder


@pytest.fixture(scope="module")
def world(question: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three steps of the paper's run, of two attempts; the second one's last attempt passes the visible cases."""
    model = write_model(tmp_path_factory.mktemp("model"))
    changes = (f"model.path={model}", "model.dtype=float32", "lora.rank=2", "lora.lr=0.01", "sampling.group_size=2",
               "budget.attempts=512")  # fmt: skip
    config = load_config("paper", changes)
    store, trainer = Store(tmp_path_factory.mktemp("db") / "a.sqlite"), Trainer(str(model), config)
    tokenizer = Tokenizer.load(str(model))
    reprompts = teaching(problems.load(str(question)), tokenizer, config)
    run = store.new_run(
        question=str(question), method="sdpo", seed=3, model=str(model), config=config.model_dump(), split={},
        environment={"torch": "any"},
    )  # fmt: skip
    trainer.create("r", 3)
    with store.claim(run) as folder:
        for number in (1, 2, 3):
            rollouts = tuple(rollout(attempt, number, tokenizer) for attempt in (2 * number - 1, 2 * number))
            for one in rollouts:
                store.add_attempt(run, one)
            metrics = trainer.step("r", reprompts.lessons(rollouts))
            snapshot = trainer.snapshot("r")
            snapshot.write(folder / f"step-{number}")
            step = Step(number, rollouts, number, metrics, {"draw": 1.0})
            store.add_step(run, step, folder / f"step-{number}", snapshot.gains)
            reprompts.remember(rollouts)
    yield World(store, run, trainer, config)
    store.close()


def rollout(attempt: int, step: int, tokenizer: Tokenizer) -> Attempt:
    ids = tokenizer.encode(f"{ANSWER} {attempt}")
    completion = Completion(ids, f"{ANSWER} {attempt}", (-1.5,) * len(ids), "stop", step - 1, 0, 0.1)
    verdict = Verdict(Status.WRONG_ANSWER, 0, 1, 0, 1, first_failure=0, feedback=f"<i>{attempt}</i> is wrong")
    if attempt == 4:
        verdict = Verdict(Status.WRONG_ANSWER, 1, 1, 0, 1, first_failure=1)
    return Attempt(attempt, step, completion, "print(<1>)", verdict, 0.1)


@pytest.mark.slow
def test_an_attempt_shows_what_was_read_answered_said_and_learnt(world: World) -> None:
    view = attempt_view(world.store, world.run, 1)
    assert view.student_prompt is not None
    assert view.teacher_prompt is not None
    assert STATEMENT in view.student_prompt
    assert "<i>1</i> is wrong" in view.teacher_prompt
    assert "<i>1</i>" not in view.student_prompt
    text = attempt_text(view)
    for part in (STATEMENT, ANSWER, "the teacher read", "wrong answer, visible 0/1", "loss: >step 1", "step 2"):
        assert part in text


def test_a_demonstration_is_shown_to_the_later_ones(world: World) -> None:
    view = attempt_view(world.store, world.run, 5)
    assert view.teacher_prompt is not None
    assert f"{ANSWER} 4" in view.teacher_prompt
    assert "is wrong" not in view.teacher_prompt


def test_a_step_shows_its_numbers_and_its_attempts(world: World) -> None:
    view = step_view(world.store, world.run, 2)
    assert [row["attempt"] for row in view.attempts] == [3, 4]
    text = step_text(view)
    assert "grad_norm" in text
    assert ">step 2" in text


def test_what_is_not_there_is_one_sentence(world: World) -> None:
    for look in (
        lambda: attempt_view(world.store, world.run, 99),
        lambda: attempt_view(world.store, 99, 1),
        lambda: step_view(world.store, world.run, 99),
    ):
        with pytest.raises(UserError, match="ttsd show"):
            look()


def test_a_question_that_is_gone_leaves_the_rest(world: World) -> None:
    config = world.config.model_dump()
    run = world.store.new_run(
        question="/nowhere/at/all", method="sdpo", seed=0, model="m", config=config, split={}, environment={}
    )
    world.store.add_attempt(run, world.store.rollouts(world.run, last=1)[0])
    view = attempt_view(world.store, run, 1)
    assert (view.student_prompt, view.teacher_prompt) == (None, None)
    assert "can't be made again" in attempt_text(view)


def test_other_methods_have_no_teacher(world: World, question: Path) -> None:
    for method in ("best-of-k", "multi-turn"):
        run = world.store.new_run(
            question=str(question), method=method, seed=0, model="m", config=world.config.model_dump(), split={},
            environment={},
        )  # fmt: skip
        for one in world.store.rollouts(world.run, last=2):
            world.store.add_attempt(run, replace(one, step=one.attempt if method == "multi-turn" else 1))
        view = attempt_view(world.store, run, 2)
        assert view.teacher_prompt is None
        assert view.student_prompt is not None
        assert ("<i>1</i> is wrong" in view.student_prompt) is (method == "multi-turn")
        with pytest.raises(UserError, match="no teacher"):
            scored_tokens(world.store, run, 2)


def guessing() -> ScriptedPolicy:
    return ScriptedPolicy(f"guess {number}" for number in range(1, 20))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, (0, 1, 2, 3)),
        ({"reprompt": {"multi_turn_max_prompt_len": 60}}, (0, 0, 0, 0)),
        ({"model": {"max_model_len": 500}, "sampling": {"max_tokens": 128}}, (0, 1, 2, 2)),
    ],
)
async def test_show_has_the_prompts_that_were_read(
    world: World, question: Path, limits: dict[str, dict[str, int]], told: tuple[int, ...]
) -> None:
    """What a run dropped to stay within its limits and the model's room was not read, so it is not shown."""
    config = Config.model_validate({"model": {"path": world.config.model.path, **limits.get("model", {})}, **{
        name: values for name, values in limits.items() if name != "model"}})  # fmt: skip
    tokenizer, policy = Tokenizer.load(config.model.path), guessing()
    run = world.store.new_run(
        question=str(question), method="multi-turn", seed=0, model="m", config=config.model_dump(), split={},
        environment={},
    )  # fmt: skip
    turns = conversation(problems.load(str(question)), tokenizer, config)
    async for event in learn(Frozen(policy.sample), judge_by_word, turns, group_size=1, budget=4):
        if isinstance(event, Attempt):
            world.store.add_attempt(run, event)
    views = [attempt_view(world.store, run, attempt) for attempt in range(1, 5)]
    assert tuple((view.student_prompt or "").count("is wrong") for view in views) == told
    assert [tokenizer.chat(view.student_prompt or "") for view in views] == policy.read
    assert {view.remark for view in views} == {""}


@pytest.mark.parametrize("made", [5, 6, 8, 11])
async def test_show_has_what_each_round_read(world: World, question: Path, made: int) -> None:
    """Of finished groups, and of one that was broken off in the middle of a round."""
    config = Config.model_validate({
        "model": {"path": world.config.model.path},
        "sampling": {"teacher_fraction": 1.0, "group_size": 8, "round_size": 4, "round_growth": 1.0,
                     "max_prompt_len": 4096},
        "reprompt": {"feedback_blocks": 9, "feedback_from": "run", "student_reads": "reading"},
        "budget": {"attempts": 12},
    })  # fmt: skip
    tokenizer, policy = Tokenizer.load(config.model.path), guessing()
    run = world.store.new_run(
        question=str(question), method="sdpo", seed=0, model="m", config=config.model_dump(), split={}, environment={}
    )
    reads, rolling = teaching(problems.load(str(question)), tokenizer, config), Rounds(4)
    count = 0
    async for event in learn(policy, judge_by_word, reads, group_size=8, budget=12, rounds=rolling):
        if isinstance(event, Step):
            world.store.add_step(run, event, None)
        elif (count := count + 1) <= made:
            world.store.add_attempt(run, event)
        else:
            break
    views = [attempt_view(world.store, run, attempt) for attempt in range(1, made + 1)]
    assert [tokenizer.chat(view.asked or view.student_prompt or "") for view in views] == policy.read[:made]
    assert all(view.asked in (None, view.student_prompt) for view in views)
    assert {view.remark for view in views} == {""}


def test_show_cuts_the_teachers_prompt_as_the_run_did(world: World, question: Path) -> None:
    config = world.config.model_copy(update={"reprompt": Reprompt(max_reprompt_len=360)})
    tokenizer = Tokenizer.load(config.model.path)
    run = world.store.new_run(
        question=str(question), method="sdpo", seed=0, model="m", config=config.model_dump(), split={}, environment={}
    )
    (one,) = world.store.rollouts(world.run, last=1)
    long = replace(one, verdict=replace(one.verdict, feedback="wrong " * 200))
    world.store.add_attempt(run, long)
    (lesson,) = teaching(problems.load(str(question)), tokenizer, config).lessons([long])
    view = attempt_view(world.store, run, 1)
    assert view.teacher_prompt is not None
    assert tokenizer.chat(view.teacher_prompt) == lesson.reprompt_ids
    assert len(lesson.reprompt_ids or ()) <= 360


def test_a_group_that_ended_its_run_was_read_by_no_teacher(world: World, question: Path) -> None:
    run = world.store.new_run(
        question=str(question), method="sdpo", seed=0, model="m", config=world.config.model_dump(), split={},
        environment={},
    )  # fmt: skip
    wrong, right = world.store.rollouts(world.run, last=2)
    world.store.add_attempt(run, wrong)
    world.store.add_attempt(run, replace(right, verdict=Verdict(Status.ACCEPTED, 1, 1, 1, 1)))
    view = attempt_view(world.store, run, 1)
    assert view.teacher_prompt is None
    assert "no teacher read it" in view.remark


def test_another_prompt_than_the_one_answered_is_remarked_on(world: World, question: Path) -> None:
    run = world.store.new_run(
        question=str(question), method="best-of-k", seed=0, model="m", config=world.config.model_dump(), split={},
        environment={},
    )  # fmt: skip
    (one,) = world.store.rollouts(world.run, last=1)
    world.store.add_attempt(run, replace(one, completion=replace(one.completion, prompt_tokens=7)))
    assert "the one answered 7" in attempt_view(world.store, run, 1).remark


def test_a_model_that_is_gone_leaves_the_whole_prompts(world: World, question: Path) -> None:
    config = world.config.model_dump() | {"model": {"path": "/no/such/model"}}
    run = world.store.new_run(
        question=str(question), method="sdpo", seed=0, model="m", config=config, split={}, environment={}
    )
    world.store.add_attempt(run, world.store.rollouts(world.run, last=1)[0])
    view = attempt_view(world.store, run, 1)
    assert "<i>1</i> is wrong" in (view.teacher_prompt or "")
    assert "uncut" in view.remark


def test_a_runs_head_names_model_start_budget_and_changed_settings(world: World) -> None:
    text = run_text(world.store.run(world.run))
    assert f"model {world.config.model.path}, started 20" in text
    assert "budget 512 attempts" in text
    assert "lora.rank=2" in text
    assert "lora.alpha" not in text
    idle = [{"metrics": {"updated": 0.0}}] * 4
    assert "warning: the last steps had nothing to learn from" in run_text(world.store.run(world.run), idle)


def test_a_run_that_nobody_works_on_is_interrupted(world: World, question: Path) -> None:
    run = world.store.new_run(
        question=str(question), method="best-of-k", seed=7, model="m", config=world.config.model_dump(), split={},
        environment={},
    )  # fmt: skip
    world.store.add_attempt(run, world.store.rollouts(world.run, last=1)[0])
    assert attempt_text(attempt_view(world.store, run, 1)).splitlines()[0].endswith("interrupted")
    with world.store.claim(run):
        assert attempt_text(attempt_view(world.store, run, 1)).splitlines()[0].endswith("running")


def test_a_difference_is_of_programs_else_of_answers(world: World) -> None:
    before, after = world.store.rollouts(world.run, last=2)
    changed = replace(after, program="print(<1>)\nprint(2)\x1b[2J")
    text = difference_text(before, changed)
    assert " print(<1>)\n+print(2)" in text
    assert "\x1b" not in text
    assert "-```python" not in text
    assert f"+{ANSWER.splitlines()[-1]} 2" in difference_text(replace(before, program=None), after)
    assert "both are the same" in difference_text(before, before)


def test_an_answer_can_not_steer_the_terminal(world: World, question: Path) -> None:
    run = world.store.new_run(
        question=str(question), method="best-of-k", seed=0, model="m", config=world.config.model_dump(), split={},
        environment={},
    )  # fmt: skip
    (one,) = world.store.rollouts(world.run, last=1)
    world.store.add_attempt(run, replace(one, completion=replace(one.completion, text="\x1b[2Jgone\x07")))
    text = attempt_text(attempt_view(world.store, run, 1))
    assert "gone" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_tokens_spell_the_answer(world: World) -> None:
    tokens = tokens_of(world.store, world.run, 1)
    assert "".join(token.text for token in tokens) == f"{ANSWER} 1"
    assert {token.sampler for token in tokens} == {-1.5}


def test_scores_come_from_the_weights_that_sampled(world: World) -> None:
    # Step 3 began with the state of step 2, which is kept; the student that drew it is scored, not the newest one.
    tokens, weights = scored_tokens(world.store, world.run, 5)
    assert weights == "the weights it was sampled from"
    assert all(token.gain is not None for token in tokens)
    world.trainer.load("then", world.store.state_dir / f"run-{world.run}" / "step-2")
    student = Tokenizer.load(world.config.model.path)
    first = world.store.rollouts(world.run, first=5, last=5)[0]
    view = attempt_view(world.store, world.run, 5)
    expected = world.trainer.logprobs("then", student.chat(view.student_prompt or ""), first.completion.token_ids)
    assert [token.student for token in tokens] == pytest.approx(expected, abs=1e-5)
    assert token_rows(tokens)[0]["teacher - student"]


def test_older_scores_name_their_weights(world: World) -> None:
    _, weights = scored_tokens(world.store, world.run, 3)
    assert weights == "the weights after step 2"


def test_an_attempts_page_is_text_not_markup(world: World) -> None:
    view = attempt_view(world.store, world.run, 1)
    page = attempt_page(view, *scored_tokens(world.store, world.run, 1))
    assert "<i>1</i>" not in page
    assert "&lt;i&gt;1&lt;/i&gt; is wrong" in page
    assert re.search(r'<span class="(up|down)" style="--share:\d+%" title="teacher - student [+-]', page)
    assert "under the weights it was sampled from" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "What the teacher read" in page


def test_what_a_step_found_of_its_tokens_is_what_they_are_scored_with(world: World) -> None:
    recorded, (scored, _) = recorded_tokens(world.store, world.run, 5), scored_tokens(world.store, world.run, 5)
    assert [token.text for token in recorded] == [token.text for token in scored]
    assert [token.gain for token in recorded] == pytest.approx([token.gain for token in scored], abs=1e-4)
    assert recorded_tokens(world.store, world.run, 1)  # also where the states are gone


def test_an_exported_adapter_loads_in_peft_and_says_the_same(world: World, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = export(world.store, world.run, tmp_path / "adapter")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.config.model.path), str(folder))
    prompt, answer = (5, 6, 7, 8), (9, 10, 11)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].double()
    expected = [float(torch.log_softmax(logits[len(prompt) + at - 1], -1)[token]) for at, token in enumerate(answer)]
    assert world.trainer.logprobs("r", prompt, answer) == pytest.approx(expected, abs=1e-4)
    assert world.trainer.logprobs(None, prompt, answer) != pytest.approx(expected, abs=1e-4)
    text = (folder / "README.md").read_text()
    assert "discovery | none" in text
    assert "base_model:" not in text  # a folder's path is nobody else's; a hub's name would stand there
    assert "gradient steps | 3 in 3 steps" in text
    assert json.loads(text.split("```json\n")[1].split("\n```")[0])["lora"]["rank"] == 2


def test_a_card_names_its_base_as_the_hub_does(world: World) -> None:
    row = world.store.run(world.run)
    fronts = {name: card(world.store, row | {"model": name}, "a", "a") for name in ("Qwen/Qwen3-8B", "micro", "./x/y")}
    assert {name for name, text in fronts.items() if f"base_model: {name}\n" in text} == {"Qwen/Qwen3-8B"}


def test_what_can_not_be_exported_is_one_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        export(world.store, world.run, tmp_path)
    run = world.store.new_run(question="q", method="best-of-k", seed=0, model="m", config={}, split={}, environment={})
    with pytest.raises(UserError, match="no adapter"):
        export(world.store, run, tmp_path / "new")
