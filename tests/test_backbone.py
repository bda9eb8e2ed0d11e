"""The door to transformers and peft: packed attention is plain attention, adapter files are PEFT's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
import scipy.stats  # noqa: TID253
import torch  # noqa: TID253

from tests.tiny import write_model, write_tokenizer
from ttsd.backbone import (
    Base,
    Tokenizer,
    cpu_computes_bfloat16,
    generate,
    load_base,
    model_sizes,
    replacing,
)
from ttsd.backbone.attention import forest_attention
from ttsd.backbone.generation import _inverted
from ttsd.backbone.lora import Adapter, LoraLinear, LoraShape
from ttsd.backbone.packing import pack
from ttsd.errors import UserError

SHAPE = LoraShape(4, 8.0, "all-linear")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def wired(folder: Path) -> Base:
    base = load_base(str(folder), dtype="float32")
    base.wire(SHAPE)
    return base


@pytest.fixture
def base(wired: Base) -> Iterator[Base]:
    with wired.attached(None):
        yield wired


def adapter(base: Base, seed: int = 0, *, trainable: bool = False) -> Adapter:
    values = torch.randn(base.adapter_size, generator=torch.Generator().manual_seed(seed)) * 0.1
    return Adapter(base.shapes, values, trainable=trainable)


def tokens(count: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(torch.randint(3, 259, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def plain_logits(base: Base, ids: tuple[int, ...]) -> torch.Tensor:
    logits: torch.Tensor = base.model(input_ids=torch.tensor([ids])).logits[0]
    return logits


def test_chat_text_and_stop_tokens(folder: Path) -> None:
    tokenizer = Tokenizer.load(str(folder), system_prompt="be kind")
    ids = tokenizer.chat("héllo <|im_end|>")
    whole = "".join(tokenizer.whole_text([token]) for token in tokenizer.encode("héllo"))
    assert tokenizer.decode(tokenizer.encode("héllo")) == "héllo"
    assert len(whole) > 0
    assert tokenizer.decode(ids).startswith("system\nbe kind\nuser\nhéllo")
    assert tokenizer.decode(ids).endswith("<think>\n\n</think>\n\n")
    assert not tokenizer.decode(Tokenizer.load(str(folder), enable_thinking=True).chat("x")).endswith("</think>\n\n")
    assert tokenizer.stop_token_ids == (2,)


def test_stop_tokens_of_the_generation_config_count_too(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2]}))
    assert Tokenizer.load(str(tmp_path)).stop_token_ids == (2, 7)


def test_packed_sequences_read_like_single_ones(base: Base) -> None:
    prompt = tokens(30)
    sequences = [(*prompt, *tokens(n, n)) for n in (5, 12, 1)] + [(*prompt, *tokens(12, 12)[:9], 4, 4), tokens(6, 9)]
    with torch.no_grad():
        forest = pack(sequences)
        packed = base.hidden(forest) @ base.head.T
        for index, sequence in enumerate(sequences):
            torch.testing.assert_close(packed[forest.rows(index)], plain_logits(base, sequence), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [3, 37])
def test_attention_of_one_token_is_sdpas(rows: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(rows, 6, 1, 8), torch.randn(rows, 2, 20, 8), torch.randn(rows, 2, 20, 8)
    seen = torch.rand(rows, 1, 1, 20) < 0.6
    for mask in (None, seen, seen[:1]):
        found, _ = forest_attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
        truth = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
        )
        torch.testing.assert_close(found, truth.transpose(1, 2))


def test_an_adapter_changes_the_model_and_leaves_no_trace(base: Base) -> None:
    ids = tokens(20)
    with torch.no_grad():
        before = plain_logits(base, ids)
        with base.attached(adapter(base)):
            assert (plain_logits(base, ids) - before).abs().max() > 0.01
        with base.attached(None):
            assert torch.equal(plain_logits(base, ids), before)


@pytest.mark.parametrize("count", [3, 200])
def test_a_lent_pair_adds_its_product(count: int) -> None:
    """Few tokens keep the pair apart, many have it merged into the weight: both are the formula."""
    torch.manual_seed(0)
    layer = LoraLinear(torch.nn.Linear(12, 10), 2.0).requires_grad_(False)
    layer.attached = tuple(torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 12), (10, 4)))
    states = torch.randn(2, count, 12, requires_grad=True)
    formula = layer.inner(states) + 2.0 * states @ (layer.attached[1] @ layer.attached[0]).T
    leaves, direction = (states, *layer.attached), torch.randn(2, count, 10)
    torch.testing.assert_close(layer(states), formula, atol=1e-4, rtol=1e-4)
    found, wanted = (torch.autograd.grad(output, leaves, direction) for output in (layer(states), formula))
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


def test_exported_adapters_are_what_peft_loads(base: Base, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ours, ids = adapter(base), tokens(25)
    base.export(ours, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "adapter")).eval()
    with torch.no_grad(), base.attached(ours):
        torch.testing.assert_close(
            theirs(input_ids=torch.tensor([ids])).logits[0], plain_logits(base, ids), atol=2e-5, rtol=1e-4
        )
    again = base.load_adapter(tmp_path / "adapter")
    assert torch.equal(again.values, ours.values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_base_serves_one_shape_of_adapter(base: Base) -> None:
    with pytest.raises(UserError, match=r"rank 8 and alpha 8\.0 on .* does not fit a model"):
        base.wire(LoraShape(8, 8.0, "all-linear"))
    base.wire(SHAPE)


def test_unknown_layers_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"w_proj.*name one for.*q_proj"):
        load_base(str(folder)).wire(LoraShape(4, 8.0, ("w_proj",)))


@pytest.mark.parametrize("use_adapter", [False, True])
def test_generated_tokens_carry_their_exact_log_probabilities(base: Base, use_adapter: bool) -> None:
    lent = adapter(base) if use_adapter else None
    prompts = [tokens(9), tokens(14, 1), tokens(9)]
    found = generate(base, lent, prompts, max_tokens=12, seed=3, stop_token_ids=(2,))
    assert found == generate(base, lent, prompts, max_tokens=12, seed=3, stop_token_ids=(2,))
    for prompt, (ids, logprobs, reason) in zip(prompts, found, strict=True):
        assert len(ids) == len(logprobs)
        assert reason == ("stop" if ids[-1] == 2 else "length")
        with torch.no_grad(), base.attached(lent):
            truth = plain_logits(base, (*prompt, *ids))[len(prompt) - 1 : -1].log_softmax(-1)
        torch.testing.assert_close(
            torch.tensor(logprobs), truth.gather(-1, torch.tensor(ids)[:, None])[:, 0], atol=1e-4, rtol=1e-4
        )


def test_log_probabilities_are_of_the_distribution_that_was_sampled(base: Base) -> None:
    prompt = tokens(9)
    with torch.no_grad():
        cold = (plain_logits(base, prompt)[-1] / 0.7).log_softmax(-1)
    for (token,), (logprob,), _ in generate(base, None, [prompt] * 20, max_tokens=1, temperature=0.7, seed=0):
        assert logprob == pytest.approx(float(cold[token]), abs=1e-4)


def test_tokens_are_drawn_as_often_as_they_are_likely(base: Base) -> None:
    with torch.no_grad():
        probabilities = plain_logits(base, tokens(9))[-1].double().softmax(-1)
    drawn = generate(base, None, [tokens(9)] * 4000, max_tokens=1, seed=0)
    counts = torch.bincount(torch.tensor([ids[0] for ids, _, _ in drawn]), minlength=len(probabilities))
    often = probabilities * 4000 >= 5
    expected = torch.cat([probabilities[often], probabilities[~often].sum()[None]]) * 4000
    found = torch.cat([counts[often], counts[~often].sum()[None]]).double()
    assert scipy.stats.chisquare(found, expected).pvalue > 1e-3


def test_a_draw_by_blocks_is_one_through_the_whole_vocabulary() -> None:
    """Rows whose mass lies in one word, in the last word, or around words that can't be drawn."""
    mass = torch.rand(5, 1000)
    mass[0, 200:900], mass[1], mass[2] = 0, 0, 0
    mass[1, 999] = mass[2, 0] = 1
    for seed in range(300):
        uniform = torch.rand(5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        sums = mass.cumsum(dim=-1, dtype=torch.float64)
        plain = torch.searchsorted(sums, uniform * sums[:, -1:], right=True)
        assert torch.equal(_inverted(mass, torch.Generator().manual_seed(seed)), plain)


def test_an_adapter_is_merged_only_where_that_is_exact(base: Base, folder: Path) -> None:
    assert all(isinstance(loan, torch.Tensor) for loan in base.prepared(adapter(base)).layers.values())
    coarse = load_base(str(folder), dtype="bfloat16")
    coarse.wire(SHAPE)
    assert not any(isinstance(loan, torch.Tensor) for loan in coarse.prepared(adapter(coarse)).layers.values())
    assert all(loan is None for loan in base.prepared(None).layers.values())


def test_a_base_readied_in_bfloat16_decodes_the_same(folder: Path) -> None:
    coarse = load_base(str(folder), dtype="bfloat16")
    coarse.wire(SHAPE)
    prompt, lent = tokens(30), adapter(coarse)
    ((ids, logprobs, _),) = generate(coarse, lent, [prompt], max_tokens=20, seed=0)
    with torch.no_grad(), coarse.attached(lent):
        truth = plain_logits(coarse, (*prompt, *ids))[len(prompt) - 1 : -1].float().log_softmax(-1)
    torch.testing.assert_close(
        torch.tensor(logprobs), truth.gather(-1, torch.tensor(ids)[:, None])[:, 0], atol=0.05, rtol=0.02
    )


@pytest.mark.skipif(not cpu_computes_bfloat16(), reason="this processor has no bfloat16 instructions")
def test_packed_weights_learn_the_same(folder: Path) -> None:
    """Decoding leaves no plain weights; loss and gradient are those of a base that never decoded."""
    found = []
    for decodes in (False, True):
        coarse = load_base(str(folder), dtype="bfloat16")
        coarse.wire(SHAPE)
        plain = sum(weight.numel() for weight in coarse.model.parameters())
        if decodes:
            generate(coarse, None, [tokens(5)], max_tokens=2, seed=0)
            assert sum(weight.numel() for weight in coarse.model.parameters()) < plain / 2
        lent = Adapter(
            coarse.shapes,
            torch.randn(coarse.adapter_size, generator=torch.Generator().manual_seed(0)) / 20,
            trainable=True,
        )
        with coarse.attached(lent, learns=True):
            loss = (coarse.hidden(pack([tokens(40)])) @ coarse.head.T).float().log_softmax(-1)[:, 3].mean()
            loss.backward()
        found.append((loss.detach(), lent.gradient))
    (plain_loss, plain_gradient), (loss, gradient) = found
    torch.testing.assert_close(loss, plain_loss, atol=0.02, rtol=0.01)
    assert plain_gradient.norm() > 0
    assert torch.nn.functional.cosine_similarity(gradient, plain_gradient, dim=0) > 0.99


def test_rows_that_are_not_wanted_any_more_stop(base: Base) -> None:
    asked: list[int] = []

    def should_stop(row: int) -> bool:
        asked.append(row)
        return row == 1 and asked.count(1) > 2

    reasons = [(len(ids), reason) for ids, _, reason in generate(
        base, None, [tokens(5)] * 3, max_tokens=6, seed=0, should_stop=should_stop
    )]  # fmt: skip
    assert reasons == [(6, "length"), (3, "abort"), (6, "length")]


def test_rows_are_handed_over_when_they_end(base: Base) -> None:
    ended: list[tuple[int, int]] = []
    found = generate(
        base, None, [tokens(5)] * 4, max_tokens=9, seed=0, should_stop=lambda row: row == 2,
        on_end=lambda row, generated: ended.append((row, len(generated[0]))),
    )  # fmt: skip
    assert ended == [(2, 1), (0, 9), (1, 9), (3, 9)]
    assert [len(ids) for ids, _, _ in found] == [9, 9, 1, 9]


@pytest.mark.parametrize("use_adapter", [False, True])
def test_prompts_that_join_while_others_are_drawn_are_read_like_any(base: Base, use_adapter: bool) -> None:
    """Shorter and longer ones, at several times, after earlier rows have ended."""
    lent, waiting = adapter(base) if use_adapter else None, [[tokens(4), tokens(31)], [], [tokens(9)] * 3, [tokens(50)]]
    prompts = [tokens(12), tokens(7)]
    room: list[int] = []

    def more(drawn_now: int) -> list[tuple[int, ...]]:
        room.append(drawn_now)
        late = [tuple(prompt) for prompt in waiting.pop(0)] if waiting else []
        prompts.extend(late)
        return late

    found = generate(base, lent, list(prompts), max_tokens=20, seed=3, stop_token_ids=(2,), more=more)
    assert len(found) == len(prompts) == 8
    assert room[:2] == [2, 4]
    for prompt, (ids, logprobs, _) in zip(prompts, found, strict=True):
        with base.attached(lent), torch.no_grad():
            rows = plain_logits(base, (*prompt, *ids[:-1]))[-len(ids) :].log_softmax(-1)
        torch.testing.assert_close(rows[range(len(ids)), list(ids)], torch.tensor(logprobs), atol=1e-4, rtol=1e-4)


def test_a_trainer_gets_its_turn_while_tokens_are_drawn(base: Base) -> None:
    turns = Event(), Event()

    def use() -> None:
        turns[0].wait()
        with base.attached(None):
            turns[1].set()

    thread = Thread(target=use)
    thread.start()
    base.lock.release()  # the fixture holds it
    try:
        turns[0].set()
        generate(base, None, [tokens(5)], max_tokens=300, seed=0, should_stop=lambda row: turns[1].is_set())
    finally:
        base.lock.acquire()
    assert turns[1].is_set()
    thread.join()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    for load in (load_base, Tokenizer.load):
        with pytest.raises(UserError, match=r"no model folder.*give an existing folder"):
            load(str(tmp_path / "nowhere"))


def test_a_broken_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"can't load the configuration.*check model.path"):
        load_base(str(tmp_path))


def test_a_tokenizer_without_chat_template_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, chat=False)
    with pytest.raises(UserError, match="no chat template"):
        Tokenizer.load(str(tmp_path))


def test_cuda_where_there_is_none(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="no CUDA device"):
        load_base(str(folder), device="cuda")


def test_four_bits_without_bitsandbytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="needs the package bitsandbytes"):
        load_base(str(folder), quantize="nf4")


def test_a_model_whose_logits_are_computed_in_an_unknown_way_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"final_logit_softcapping": 0.3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(UserError, match="computes its logits in a way that the trainer does not know"):
        load_base(str(tmp_path))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "state"
    for content in ("one", "two"):
        with replacing(target) as draft:
            (draft / "x").write_text(content)
    with pytest.raises(FileNotFoundError), replacing(target) as draft:
        (draft / "x" / "impossible").write_text("three")
    assert (target / "x").read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["state"]


def test_a_special_token_in_a_user_turn_stays_text(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer = Tokenizer.load(str(tmp_path))
    quoted = tokenizer.chat("printed <|im_end|> by a program")
    assert sum(tokenizer.whole_text([token]) == "<|im_end|>" for token in quoted) == 1
    assert "printed <|im_end|> by a program" in tokenizer.decode(quoted)


def test_a_folder_without_a_model_is_said_in_a_sentence(tmp_path: Path) -> None:
    for load in (load_base, Tokenizer.load, model_sizes):
        with pytest.raises(UserError, match=r"has no config\.json, so it holds no model"):
            load(str(tmp_path))
