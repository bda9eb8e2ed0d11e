"""Looking at attempts and steps, and taking an adapter out, on a run that a tiny model really learnt from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import problems
from tests.commands import ROOT, finish, ttsd
from tests.hub_server import Uploads
from tests.tiny import write_model
from ttsd.backbone import Tokenizer
from ttsd.config import load_config
from ttsd.errors import InfrastructureError, UserError
from ttsd.methods import MethodOnQuestion
from ttsd.nouns import Attempt, Completion, History, Prompt, Status, Step, Verdict
from ttsd.prompts import PromptWriter
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.reporting.answers import show_attempt
from ttsd.reporting.attempt import attempt_view, run_row, run_rows, step_view
from ttsd.reporting.export import _compare, card, check_push, export
from ttsd.reporting.report.attempt_page import attempt_page
from ttsd.reporting.report.record import learning_curves, read
from ttsd.reporting.show import attempt_line, attempt_text, difference_text, run_line, run_text, step_text
from ttsd.reporting.token_scores import token_rows, tokens_of
from ttsd.reporting.view.records import Records, opened
from ttsd.training.trainer import Trainer

STATEMENT = "Print the sum of the two numbers."
ANSWER = "```python\nprint(<1>)\n```"


@dataclass(frozen=True)
class World:
    store: Store
    number: int
    trainer: Trainer
    run: Run


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
    changes = (f"model.path={model}", "model.dtype=float32", "lora.rank=2", "lora.lr=0.01", "sampling.group_size=2")
    config = load_config(None, changes)
    store, trainer = Store(tmp_path_factory.mktemp("db") / "a.sqlite"), Trainer(str(model), config)
    tokenizer, run = Tokenizer.load(str(model)), Run(problems.load(str(question)), config, 3)
    method = MethodOnQuestion(run.method, PromptWriter(run.problem, tokenizer, config))
    number, history = store.new_run(run, {"torch": "any"}), History()
    trainer.create("r", 3)
    with store.claim(number) as folder:
        for step in (1, 2, 3):
            prompts = method.prompts(2, history)
            made = tuple(attempt(2 * step + at - 1, step, prompt, tokenizer) for at, prompt in enumerate(prompts))
            for one in made:
                store.add_attempt(number, one)
            examples = tuple(method.examples(made, history))
            metrics = trainer.step("r", examples)
            snapshot = trainer.snapshot("r")
            snapshot.write(folder / f"step-{step}")
            finished = Step(step, made, step, examples, metrics, {"group": 1.0})
            store.add_step(number, finished, folder / f"step-{step}", snapshot.token_advantages)
            history = history.extended(made)
    yield World(store, number, trainer, run)
    store.close()


def attempt(number: int, step: int, prompt: Prompt, tokenizer: Tokenizer) -> Attempt:
    ids = tokenizer.encode(f"{ANSWER} {number}")
    completion = Completion(ids, f"{ANSWER} {number}", (-1.5,) * len(ids), "stop", step - 1, 0.1)
    verdict = Verdict(Status.WRONG_ANSWER, 0, 1, 0, 1, first_failure=0, feedback=f"<i>{number}</i> is wrong")
    if number == 4:
        verdict = Verdict(Status.WRONG_ANSWER, 1, 1, 0, 1, first_failure=1)
    return Attempt(number, step, step, prompt, completion, "print(<1>)", verdict, 0.1)


def another(world: World, *attempts: Attempt, method: str = "best-of-k", seed: int = 0) -> int:
    """A run of another method with these attempts."""
    config = world.run.config.model_copy(update={"method": method})
    number = world.store.new_run(replace(world.run, config=config, seed=seed), {})
    for one in attempts:
        world.store.add_attempt(number, one)
    return number


@pytest.mark.slow
def test_an_attempt_shows_prompt_answer_feedback_and_the_teachers_prompt(world: World) -> None:
    view = attempt_view(world.store, world.number, 1)
    assert view.example is not None
    assert view.example.teacher is not None
    assert STATEMENT in view.attempt.prompt.text
    assert "<i>1</i> is wrong" in view.example.teacher.text
    assert "<i>1</i>" not in view.attempt.prompt.text
    text = attempt_text(view)
    for part in (STATEMENT, ANSWER, "self-teacher's prompt, shows attempt 1", "wrong answer, visible 0/1"):
        assert part in text
    assert "loss: >step 1" in text


def test_a_demonstration_is_shown_to_the_later_ones(world: World) -> None:
    view = attempt_view(world.store, world.number, 5)
    assert view.example is not None
    assert view.example.teacher is not None
    assert f"{ANSWER} 4" in view.example.teacher.text
    assert "is wrong" not in view.example.teacher.text


def test_what_is_shown_was_read_and_depends_on_nothing_else(world: World, question: Path) -> None:
    """The question, its model and the settings may have changed since: prompts are stored."""
    (one,) = world.store.attempts(world.number, last=1)
    prompt = Prompt((1, 2), "long gone", "feedback", (7,))
    number = another(world, replace(one, prompt=prompt), method="multi-turn")
    view = attempt_view(world.store, number, 1)
    assert (view.attempt.prompt, view.example) == (prompt, None)
    assert "--- prompt, shows attempt 7 ---\nlong gone" in attempt_text(view)
    assert "sampled with feedback" in attempt_text(view)


def test_a_judges_score_is_the_share_passed_everywhere(world: World, tmp_path: Path) -> None:
    (one,) = world.store.attempts(world.number, last=1)
    with Store(tmp_path / "a.sqlite") as store:
        number = store.new_run(world.run, {})
        store.add_attempt(number, replace(one, verdict=replace(one.verdict, score=0.7)))
        assert "score 0.7" in attempt_text(attempt_view(store, number, 1))
        assert run_rows(store)[0]["best"] == 0.7
        assert store.answer(number).best == 0.7
        assert read(store).runs[0].best_visible == 0.7
        assert learning_curves(store)[number][0]["visible_fraction"] == 0.7
        with Records(opened([(tmp_path / "a.sqlite", None)])) as records:
            assert records.run("1", number)["steps"][0]["best"] == 0.7


def test_a_step_shows_its_numbers_and_its_attempts(world: World) -> None:
    view = step_view(world.store, world.number, 2)
    assert [row["attempt"] for row in view.attempts] == [3, 4]
    text = step_text(view)
    assert "grad_norm" in text
    assert ">step 2" in text


def test_what_is_not_there_is_one_sentence(world: World) -> None:
    for look in (
        lambda: attempt_view(world.store, world.number, 99),
        lambda: attempt_view(world.store, 99, 1),
        lambda: step_view(world.store, world.number, 99),
    ):
        with pytest.raises(UserError, match="ttsd show"):
            look()


def test_a_runs_head_names_model_start_budget_and_changed_settings(world: World) -> None:
    text = run_text(run_row(world.store, world.number))
    assert f"model {world.run.config.model.path}, started 20" in text
    assert "budget 512 attempts" in text
    assert "lora.rank=2" in text
    assert "lora.alpha" not in text
    idle = [{"metrics": {"updated": 0.0}}] * 4
    assert "warning: the last steps had nothing to learn from" in run_text(run_row(world.store, world.number), idle)


def test_a_discovery_says_how_strong_it_is(world: World) -> None:
    row = run_row(world.store, world.number) | {"discovery_attempt": 4}
    assert run_line(row).endswith("discovered at attempt 4 (1 visible, no hidden cases)")
    confirmed = {**row, "split": {"visible": [0, 1], "hidden": [2]}}
    assert run_line(confirmed).endswith("discovered at attempt 4")
    (one,) = world.store.attempts(world.number, last=1)
    assert ", hidden 0/1;" in attempt_line(one)
    bare = replace(one.verdict, hidden_total=0)
    assert ", no hidden cases;" in attempt_line(replace(one, verdict=bare))


def test_a_run_that_nobody_works_on_is_interrupted(world: World, question: Path) -> None:
    run = another(world, *world.store.attempts(world.number, last=1), seed=7)
    assert attempt_text(attempt_view(world.store, run, 1)).splitlines()[0].endswith("interrupted")
    with world.store.claim(run):
        assert attempt_text(attempt_view(world.store, run, 1)).splitlines()[0].endswith("running")


def test_a_difference_is_of_programs_else_of_answers(world: World) -> None:
    before, after = world.store.attempts(world.number, last=2)
    changed = replace(after, program="print(<1>)\nprint(2)\x1b[2J")
    text = difference_text(before, changed)
    assert " print(<1>)\n+print(2)" in text
    assert "\x1b" not in text
    assert "-```python" not in text
    assert f"+{ANSWER.splitlines()[-1]} 2" in difference_text(replace(before, program=None), after)
    assert "both are the same" in difference_text(before, before)


def test_an_answer_can_not_steer_the_terminal(world: World, question: Path) -> None:
    (one,) = world.store.attempts(world.number, last=1)
    run = another(world, replace(one, completion=replace(one.completion, text="\x1b[2Jgone\x07")))
    text = attempt_text(attempt_view(world.store, run, 1))
    assert "gone" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_tokens_spell_the_answer(world: World) -> None:
    tokens = tokens_of(world.store, world.number, 1)
    assert "".join(token.text for token in tokens) == f"{ANSWER} 1"
    assert {token.sampler for token in tokens} == {-1.5}
    assert all(token.advantage is not None for token in tokens)
    assert token_rows(tokens)[0]["teacher - student"]
    number = another(world, *world.store.attempts(world.number, last=1), seed=6)
    assert {token.advantage for token in tokens_of(world.store, number, 1)} == {None}
    assert {row["teacher - student"] for row in token_rows(tokens_of(world.store, number, 1))} == {""}


def command(world: World, *arguments: str) -> str:
    made = ("-s", f"store.path={world.store.path}")
    status, out, err = finish("show", *arguments, *made, cwd=world.store.path.parent)
    assert status == 0, err
    return out


def test_json_is_answered_wherever_it_is_accepted(world: World) -> None:
    number = str(world.number)
    (listed, *_) = json.loads(command(world, "--json"))
    assert (listed["run"], listed["status"], listed["visible_cases"]) == (world.number, "interrupted", 1)
    assert (listed["hidden_cases"], listed["program"]) == (0, None)
    whole = json.loads(command(world, number, "--json"))
    assert whole["settings"]["lora"]["rank"] == 2
    assert [row["attempt"] for row in whole["attempt_rows"]] == [1, 2, 3, 4, 5, 6]
    step = json.loads(command(world, number, "--step", "2", "--json"))
    assert (step["finished"], len(step["attempts"]), step["loss"] is None) == (True, 2, False)
    one = json.loads(command(world, number, "--attempt", "5", "--tokens", "--json", "-m", world.run.config.model.path))
    assert f"{ANSWER} 4" in one["teacher_prompt"]["text"]
    assert STATEMENT in one["prompt"]["text"]
    assert len(one["tokens"]) == one["completion_tokens"]
    both = json.loads(command(world, number, "--diff", "3", "4", "--json"))
    assert (both["before"]["attempt"], both["after"]["verdict"]["visible_passed"]) == (3, 1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--state", "gone"), "there is no state 'gone'; choose one of running, interrupted"),
        (("--method", "sdpp"), "did you mean 'sdpo'"),
        (("--attempt", "3"), "with a run's number"),
        (("1", "--attempt", "3", "--step", "1"), "give one of --attempt, --step and --diff"),
    ],
)
def test_what_fits_no_run_is_one_sentence(world: World, asked: tuple[str, ...], said: str) -> None:
    path = world.store.path
    status, out, err = finish("show", *asked, "-s", f"store.path={path}", cwd=path.parent)
    assert (status, out) == (2, "")
    assert said in err


def test_a_deleted_run_is_gone_with_its_states_and_leaves_the_others(world: World, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    shutil.copytree(world.store.state_dir, tmp_path / "copy.sqlite.state")
    with Store(path) as store:
        world.store._db.conn.backup(store._db.conn)
        kept = another(replace(world, store=store), *world.store.attempts(world.number, last=2))
    status, _, err = finish("delete", str(world.number), "-s", f"store.path={path}", cwd=tmp_path)
    assert (status, err) == (0, f"run {world.number} is gone: {world.run.question}, sdpo, 6 attempts\n")
    assert not (tmp_path / "copy.sqlite.state" / f"run-{world.number}").exists()
    with Store.read_only(path) as store:
        assert world.number not in [row["run"] for row in store.runs()]
        assert [one.number for one in store.attempts(kept)] == [1, 2]
        used = {one.prompt.hash for row in store.runs() for one in store.attempts(row["run"])}
        assert {name for (name,) in store.query("select prompt from prompts")} == used
        assert store.query("select 1 from examples") == []


def test_a_run_that_a_process_works_on_is_not_deleted(world: World) -> None:
    path = world.store.path
    with world.store.claim(world.number):
        status, _, err = finish("delete", str(world.number), "-s", f"store.path={path}", cwd=path.parent)
    assert (status, "another process works on run" in err) == (2, True)


def test_an_attempts_page_is_text_not_markup(world: World) -> None:
    view = attempt_view(world.store, world.number, 1)
    page = attempt_page(view, tokens_of(world.store, world.number, 1))
    assert "<i>1</i>" not in page
    assert "&lt;i&gt;1&lt;/i&gt; is wrong" in page
    assert re.search(r'<span class="(up|down)" style="--share:\d+%" title="teacher - student [+-]', page)
    assert "under the weights of its step" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Self-teacher&#39;s prompt" in page


def test_a_page_that_can_not_be_written_is_a_sentence(world: World, tmp_path: Path) -> None:
    page, model = tmp_path / "none" / "page.html", world.run.config.model.path
    with pytest.raises(
        UserError, match=r"can't write the page .*page\.html \(No such file or directory\); give --html"
    ):
        show_attempt(world.store, world.number, 1, model, tokens=False, page=page, as_json=False)


def test_an_exported_adapter_loads_in_peft_and_says_the_same(world: World, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = export(world.store, world.number, tmp_path / "adapter", world.run.config.model.path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.run.config.model.path), str(folder))
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


def test_an_earlier_state_and_the_best_are_exported(world: World, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    def weights(name: str, **options: Any) -> Any:
        folder = export(world.store, world.number, tmp_path / name, world.run.config.model.path, **options)
        return next(iter(load_file(folder / "adapter_model.safetensors").values())), (folder / "README.md").read_text()

    (last, _), (second, text) = weights("last"), weights("second", step=2)
    assert not last.equal(second)
    assert "exported after | step 2" in text
    with pytest.raises(UserError, match="no state of step 1; choose from the kept ones: 2, 3"):
        weights("first", step=1)
    with pytest.raises(UserError, match="before its first step"):
        weights("best", best=True)
    metrics = json.dumps({"best_state": 2})
    world.store._db.execute("update steps set metrics = json_patch(metrics, ?) where step = 3", [metrics])
    assert weights("best", best=True)[0].equal(second)
    assert not list(tmp_path.glob(".export-*"))


def test_a_merged_model_says_the_same_as_base_and_adapter(world: World, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = export(world.store, world.number, tmp_path / "whole", world.run.config.model.path, merge=True)
    model, ids = AutoModelForCausalLM.from_pretrained(folder), (5, 6, 7, 8, 9, 10, 11)
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    found = [float(logprobs[at, token]) for at, token in enumerate(ids[1:])]
    assert world.trainer.logprobs("r", ids[:1], ids[1:]) == pytest.approx(found, abs=1e-4)
    assert AutoTokenizer.from_pretrained(folder).vocab_size > 0
    text = (folder / "README.md").read_text()
    assert "library_name: transformers" in text
    assert "lora-modules" not in text


def test_an_adapter_that_computes_otherwise_is_refused() -> None:
    with pytest.raises(InfrastructureError, match=r"differs from the trainer by 0\.1 nats"):
        _compare("the adapter", [-1.0, -2.0], [-1.1, -1.9], "bfloat16")
    with pytest.raises(InfrastructureError, match="nothing was exported"):
        _compare("the adapter", [-1.0], [float("nan")], "float32")
    _compare("the adapter", [-1.0, -2.0], [-1.02, -2.01], "bfloat16")


PUSH = """
import sys
from pathlib import Path
from ttsd.errors import InfrastructureError
from ttsd.reporting.export import push
try:
    print(push(Path(sys.argv[1]), sys.argv[2]))
except InfrastructureError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_folder_is_pushed_to_a_private_repository(world: World, tmp_path: Path) -> None:
    chosen = ["--set", f"store.path={world.store.path}", "-m", world.run.config.model.path]
    folder = tmp_path / "adapter"
    with Uploads("hf_known", forbidden="other").running() as hub:
        hubs = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_known"}
        hubs |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}  # the server has only the hub's older way
        ended = ttsd("export", str(world.number), str(folder), "--push", "me/sum", *chosen, **hubs)
        assert (ended.returncode, ended.stdout.split()) == (0, [str(folder), f"{hub.url}/me/sum"]), ended.stderr

        def pushed(name: str, **changed: str) -> str:
            command = [sys.executable, "-c", PUSH, str(folder), name]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), **hubs, **changed}
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()

        (folder / "README.md").write_text("---\n---\nmore")
        assert pushed("me/sum") == f"{hub.url}/me/sum"
        assert hub.files["me/sum"] == {file.name: file.read_bytes() for file in folder.iterdir()}
        assert hub.private == {"me/sum": True}
        for said, refused in {
            "401": pushed("me/x", HF_TOKEN="hf_wrong"),
            "403": pushed("other/x"),
            "Connection refused": pushed("me/x", HF_ENDPOINT="http://127.0.0.1:9"),
        }.items():
            assert re.match(rf"can't push to .*{said}.*; {folder} stays: check the network and `hf auth", refused), (
                refused
            )
            assert "hf_wrong" not in refused
    with pytest.raises(UserError, match="ORG/NAME"):
        check_push("sum")


def test_a_card_names_its_base_as_the_hub_does(world: World) -> None:
    row = world.store.run(world.number)
    fronts = {
        name: card(world.store, row | {"model": name}, "a", step=3) for name in ("Qwen/Qwen3-8B", "micro", "./x/y")
    }
    assert {name for name, text in fronts.items() if f"base_model: {name}\n" in text} == {"Qwen/Qwen3-8B"}


def test_what_can_not_be_exported_is_one_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        export(world.store, world.number, tmp_path, world.run.config.model.path)
    run = another(world, seed=8)
    with pytest.raises(UserError, match="no adapter"):
        export(world.store, run, tmp_path / "new", world.run.config.model.path)


HOSTILE_QUESTION = "/home/ann/secret/q`<img src=x>`|# Title\n\n# Heading [a](http://b)"
HOSTILE_PROGRAM = "a = 1\n```\n~~~~\n# Out of the fence\n````\n<script>\n"


def test_a_card_holds_neither_markdown_of_others_nor_paths_of_ours(world: World) -> None:
    from markdown_it import MarkdownIt

    row = world.store.run(world.number)
    config = row["config"]
    config["model"]["path"] = "/home/ann/secret/base model"
    config["judge"]["python"] = "envs/secret/bin/python"
    config["store"]["path"] = "/home/ann/secret/a.sqlite"
    hostile = {
        **{"question": HOSTILE_QUESTION, "model": "/home/ann/secret/base; touch hit", "config": config},
        **{"method": "sdpo<b>", "environment": {"x": "/home/ann/secret/lib", "```": "```\n# Heading"}},
    }
    world.store._db.table("runs").update(world.number, {"program": HOSTILE_PROGRAM})
    text = card(world.store, row | hostile, "a b", step=3)
    assert "secret" not in text
    assert "vllm serve 'base; touch hit' " in text
    tokens = MarkdownIt("commonmark").enable("table").parse(text.partition("---\n\n")[2])
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Use", "The discovered program", "Configuration", "Environment"]
    kinds = {inner.type for token in tokens for inner in (token, *(token.children or ()))}
    assert not {"link_open", "image", "html_inline", "html_block"} & kinds
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences[0] == HOSTILE_PROGRAM
    assert json.loads(fences[1])["model"]["path"] == "base; touch hit"
    assert json.loads(fences[2]) == {"x": "lib", "```": "```\n# Heading"}


def test_an_exported_adapter_names_its_base_without_a_path(world: World, tmp_path: Path) -> None:
    folder = export(world.store, world.number, tmp_path / "adapter", world.run.config.model.path)
    for file in ("adapter_config.json", "README.md"):
        assert str(Path(world.run.config.model.path).parent) not in (folder / file).read_text()
