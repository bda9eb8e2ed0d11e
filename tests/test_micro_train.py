"""The bundled model: its corpus, its tokenizer, its training, and the files that ship."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch  # noqa: TID253

import problems.micro
from problems import load, micro
from problems.micro import named, program
from problems.micro.families import FAMILIES, WEIGHTS
from tests.commands import ROOT
from tools.micro import corpus, training
from tools.micro.corpus import CURRICULUM, answer, conversation, example, feedback
from tools.micro.evaluation import log_p, meanings, shown, table
from tools.micro.model import load as load_model
from tools.micro.tokenizer import CHAT_TEMPLATE, END, chat, phrases, terms
from tools.micro.training import Muon, Recipe, orthogonal, train
from ttsd.judging.extract import extract_program
from ttsd.judging.feedback import MAX_CHARACTERS
from ttsd.prompts import question_text

MODEL = Path(problems.micro.__file__).parent / "model"


def test_the_corpus_is_a_function_of_seed_and_step() -> None:
    drawn = training.examples(Recipe(), step=1300)
    assert drawn == training.examples(Recipe(), step=1300)
    assert drawn != training.examples(Recipe(), step=1301)


def test_only_training_questions_are_trained_on() -> None:
    rng = random.Random(5)
    assert {corpus.training_question(rng, 2).part for _ in range(200)} == {"training"}


def test_answers_hold_the_program() -> None:
    rng = random.Random(1)
    for _ in range(50):
        drawn = example(rng, CURRICULUM[-1])
        source = extract_program(drawn.answer)
        assert source is not None
        assert answer(source) == drawn.answer


def test_examples_end_as_the_tool_ends_its_prompts() -> None:
    rng = random.Random(2)
    texts = [example(rng, CURRICULUM[-1]).prompt for _ in range(300)]
    assert sum("Wrong Answer" in text for text in texts) > 100
    assert sum("Runtime Error" in text for text in texts) > 20
    assert sum("Correct solution" in text for text in texts) > 2


def test_feedback_is_empty_for_the_right_program_only() -> None:
    asked = named("mixed:5:3")
    right = [rule.operation for rule in asked.rules]
    assert feedback(asked, right) == ""
    for other in asked.family.verbs[asked.rules[0].verb]:
        text = feedback(asked, [other, *right[1:]])
        assert (text == "") == (other == right[0])
        assert len(text) <= MAX_CHARACTERS


def test_a_runtime_error_reads_as_the_judge_reports_it() -> None:
    from ttsd.judging.judge import own_traceback

    asked = named("mixed:4:5")
    for attempt in zip(*(asked.family.verbs[rule.verb] for rule in asked.rules), strict=True):
        failed = [r for r in corpus.results(asked, attempt) if r.error]
        for result in failed:
            assert own_traceback(f"Traceback (most recent call last):\n{result.error}\n".encode()) == result.error


def test_a_conversation_ends_when_the_attempt_is_right() -> None:
    texts = conversation(named("numbers:2:1"), 6, random.Random(0), heed=1.0, luck=0.5)
    assert 1 <= len(texts) <= 2


def test_every_phrase_is_one_token_and_texts_survive() -> None:
    _, tokenizer = load_model(MODEL)
    rng = random.Random(3)
    drawn = [example(rng, CURRICULUM[-1]) for _ in range(200)]
    seen: set[str] = set()
    for item in drawn:
        encoded = tokenizer.encode(item.prompt + item.answer)
        assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == item.prompt + item.answer
        seen |= {tokenizer.decode([token]) for token in encoded.ids}
    assert set(phrases()) <= seen
    assert all(len(tokenizer.encode(term).ids) == 1 for term in terms())
    assert tokenizer.decode(tokenizer.encode("Größe\t→ 漢字 \0").ids) == "Größe\t→ 漢字 \0"


def test_micro_batches_hold_every_example_once_within_the_budget() -> None:
    _, tokenizer = load_model(MODEL)
    recipe = Recipe(token_budget=700)
    (made,) = islice(training.batches(recipe, tokenizer, first=2000), 1)
    assert sum(len(ids) for ids, _ in made) == len(training.examples(recipe, 2000))
    assert all(ids.numel() <= 700 or len(ids) == 1 for ids, _ in made)


def test_the_table_is_markdown() -> None:
    assert shown({"lists:2": [0.5, 0.25, 0.1, 0.0123, 1e-9, 1.0]}).splitlines()[2] == (
        "| lists:2 | 0.5 | 0.25 | 0.1 | 0.012 | 1e-09 | 1 |"
    )


@pytest.mark.slow
def test_a_folder_without_a_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.micro", "evaluate", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "is no model folder; give one that `python -m tools.micro train` wrote" in ended.stderr


def test_newton_schulz_flattens_the_singular_values() -> None:
    for shape in ((8, 20), (20, 8)):
        matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert values.min() > 0.4
        assert values.max() < 1.3


def test_muon_goes_downhill() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4))
    optimizer = Muon([weight], lr=0.05)
    before = weight.square().sum().item()
    for _ in range(20):
        optimizer.zero_grad()
        torch.autograd.backward(weight.square().sum())
        optimizer.step()
    assert weight.square().sum().item() < before / 2


@pytest.mark.slow
def test_a_resumed_training_is_the_same_training(tmp_path: Path) -> None:
    whole = Recipe(steps=2, checkpoint_every=1, tokenizer_texts=200)
    train(whole, tmp_path / "whole", resume=False)
    for name in ("part", "part"):
        train(whole, tmp_path / name, resume=True, stop_after=1)
    for file in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "part" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_the_shipped_files_are_small_and_complete() -> None:
    files = {path.name for path in MODEL.iterdir()}
    assert files == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 10_000_000
    assert json.loads((MODEL / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]


def test_transformers_reads_the_shipped_model_as_we_do() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ours, _ = load_model(MODEL)
    theirs = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    prompt = question_text(load("micro:lists:4:1"))
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    assert rendered == chat(prompt)
    ids = torch.tensor([tokenizer(rendered + answer(program(named("lists:4:1"))) + END).input_ids])
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, ours(ids), atol=1e-4)
    assert tokenizer.eos_token == END
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_the_shipped_model_uses_feedback_and_demonstrations() -> None:
    model, tokenizer = load_model(MODEL)
    for family, row in table(model, tokenizer, questions=8, rules=(4,)).items():
        alone, one, _, four, six, demonstrated = row
        assert alone < one < four, family
        assert four > 8 * alone, family
        assert six > 8 * alone, family
        assert demonstrated > 0.8, family


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_model_guesses_as_often_as_verbs_mean(family: str) -> None:
    model, tokenizer = load_model(MODEL)
    found = meanings(model, tokenizer, family, questions=12)
    assert found == pytest.approx([weight / 10 for weight in WEIGHTS], abs=0.08)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recorded_probabilities_are_the_shipped_models(family: str) -> None:
    model, tokenizer = load_model(MODEL)
    names = [name for name in micro.subset("micro-hard") if name.startswith(f"micro:{family}:")][:2]
    pairs = [(question_text(load(name)), program(named(name.removeprefix("micro:")))) for name in names]
    found = torch.tensor(log_p(model, tokenizer, pairs)).exp().tolist()
    assert found == pytest.approx([micro.p_solve(name) for name in names], rel=0.02)
