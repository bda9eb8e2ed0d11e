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
from problems.micro import named, problem, program
from problems.micro.families import FAMILIES, WEIGHTS
from tests.commands import ROOT
from tools.micro import corpus
from tools.micro.corpus import CURRICULUM, answer, conversation, example, feedback
from tools.micro.evaluation import log_p, markdown, names, table, write_subsets
from tools.micro.model import load as load_model
from tools.micro.tokenizer import CHAT_TEMPLATE, END, chat, encode, phrases, terms
from tools.micro.training import TOKEN_BUDGET, micro_batches, orthogonal, train
from ttsd.judging.extract import extract_program
from ttsd.judging.feedback import MAX_CHARACTERS
from ttsd.prompts import question_text

MODEL = Path(problems.micro.__file__).parent / "model"


def test_the_corpus_is_a_function_of_seed_and_step() -> None:
    sampled = corpus.examples(seed=0, step=1300, count=64)
    assert sampled == corpus.examples(seed=0, step=1300, count=64)
    assert sampled != corpus.examples(seed=0, step=1301, count=64)
    assert sampled != corpus.examples(seed=1, step=1300, count=64)


def test_only_training_questions_are_trained_on() -> None:
    rng = random.Random(5)
    assert {corpus.training_question(rng, 2).part for _ in range(200)} == {"training"}


def test_answers_hold_the_program() -> None:
    rng = random.Random(1)
    for _ in range(50):
        _, right = example(rng, CURRICULUM[-1])
        source = extract_program(right)
        assert source is not None
        assert answer(source) == right


def test_examples_end_as_the_tool_ends_its_prompts() -> None:
    rng = random.Random(2)
    prompts = [example(rng, CURRICULUM[-1])[0] for _ in range(300)]
    assert sum("Wrong Answer" in prompt for prompt in prompts) > 100
    assert sum("Runtime Error" in prompt for prompt in prompts) > 20
    assert sum("Correct solution" in prompt for prompt in prompts) > 2


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
    items = conversation(named("numbers:2:1"), 6, random.Random(0), follows=1.0, luck=0.5)
    assert 1 <= len(items) <= 2


def test_every_phrase_is_one_token_and_any_text_survives() -> None:
    _, tokenizer = load_model(MODEL)
    seen: set[str] = set()
    for prompt, right in corpus.examples(seed=3, step=2500, count=200):
        encoded = tokenizer.encode(prompt + right)
        assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == prompt + right
        seen |= {tokenizer.decode([token]) for token in encoded.ids}
    assert set(phrases()) <= seen
    assert all(len(tokenizer.encode(term).ids) == 1 for term in terms())
    assert tokenizer.decode(tokenizer.encode("Größe\t→ 漢字 \0").ids) == "Größe\t→ 漢字 \0"


def test_micro_batches_hold_every_example_once_within_the_budget() -> None:
    _, tokenizer = load_model(MODEL)
    pairs = encode(tokenizer, corpus.examples(seed=0, step=2000, count=64))
    batches = list(micro_batches(pairs))
    found = [row[weight > 0].tolist() for ids, weights in batches for row, weight in zip(ids, weights, strict=True)]
    assert sorted(found) == sorted(prompt + right for prompt, right in pairs)
    assert all(ids.numel() <= TOKEN_BUDGET or len(ids) == 1 for ids, _ in batches)


def test_the_table_is_markdown() -> None:
    assert markdown({"lists:2": [0.5, 0.25, 0.1, 0.0123, 1e-9, 1.0]}).splitlines()[2] == (
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


@pytest.mark.slow
def test_a_rebuild_begins_as_the_shipped_model_began(tmp_path: Path) -> None:
    """The first losses depend on the corpus, the tokenizer, the shape, the first weights and both optimizers."""
    assert train(0, tmp_path, steps=6) == pytest.approx(
        [6.62484, 6.48778, 6.21171, 5.83776, 5.56707, 5.33563], abs=2e-4
    )
    for name in ("tokenizer.json", "config.json", "generation_config.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (MODEL / name).read_bytes()
    trained, _ = load_model(tmp_path)
    shipped, _ = load_model(MODEL)
    assert [p.shape for p in trained.parameters()] == [p.shape for p in shipped.parameters()]


@pytest.mark.slow
def test_the_lists_and_probabilities_are_the_shipped_models(tmp_path: Path) -> None:
    write_subsets(*load_model(MODEL), tmp_path)
    written = json.loads((tmp_path / "subsets.json").read_text())
    assert {name: list(one) for name, one in written.items()} == {name: micro.subset(name) for name in micro.lists()}
    for name, probabilities in micro.lists().items():
        assert written[name] == pytest.approx(probabilities, rel=0.02)


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
    for family, row in table(model, tokenizer, questions=8, rules=(4,), follows=0.9).items():
        alone, one, _, four, six, demonstrated = row
        assert alone < one < four, family
        assert four > 8 * alone, family
        assert six > 8 * alone, family
        assert demonstrated > 0.8, family


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_model_guesses_as_often_as_verbs_mean(family: str) -> None:
    """Of the last verb of each question the model gives the four operations the shares that the suite gives them."""
    model, tokenizer = load_model(MODEL)
    pairs = []
    for asked in map(named, islice(names("tuning", family, (4,)), 24)):
        known = [rule.operation for rule in asked.rules[:-1]]
        rivals = asked.family.verbs[asked.rules[-1].verb]
        pairs += [(question_text(problem(asked, "")), program(asked, [*known, rival])) for rival in rivals]
    guesses = torch.tensor(log_p(model, tokenizer, pairs)).view(-1, 4).softmax(dim=1).mean(dim=0)
    assert guesses.tolist() == pytest.approx([weight / 10 for weight in WEIGHTS], abs=0.08)
