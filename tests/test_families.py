"""Tiny models of today's families: what trainer and sampler compute is what transformers computes, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch  # noqa: TID253

from tests.commands import ROOT
from tests.families import (
    FAMILIES,
    OTHERS,
    OWN_CACHE,
    WITH_PICTURES,
    others,
    sequences,
    table,
    write_family,
    write_with_pictures,
)
from ttsd.backbone import check_decodes, check_loads, generate, load_base, plain_logprobs, plain_model, write_merged
from ttsd.backbone.lora import Adapter, LoraShape
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.backbone import Base

SHAPE = LoraShape(4, 8.0, "all-linear")
EXACT = 2e-5  # nats, in float32


def truth(folder: Path, tokens: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities (tokens, vocabulary) by transformers' plainest way: one sequence, eager attention."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    return logits.double().log_softmax(-1)


def ours(base: Base, rows: list[tuple[int, ...]]) -> list[torch.Tensor]:
    forest = base.pack(rows)
    logits = base.finish.finished(base.hidden(forest) @ base.head.T).double().log_softmax(-1)
    return [logits[forest.rows(at)] for at in range(len(rows))]


def check_computed(base: Base, folder: Path, exact: float = EXACT) -> None:
    """Compares trainer and sampler with transformers; `exact` in nats."""
    rows = sequences()
    base.wire(SHAPE)
    with base.attached(None), torch.no_grad():
        for found, row in zip(ours(base, rows), rows, strict=True):
            torch.testing.assert_close(found, truth(folder, row), atol=exact, rtol=0)
    prompts = [rows[0][:30], rows[1][:22], rows[4], rows[0][:30]]
    for prompt, (ids, logprobs, _) in zip(prompts, generate(base, None, prompts, max_tokens=20, seed=0), strict=True):
        wanted = truth(folder, (*prompt, *ids))[len(prompt) - 1 : -1]
        found = torch.tensor(logprobs, dtype=torch.float64)
        torch.testing.assert_close(found, wanted[range(len(ids)), list(ids)], atol=exact, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_computed_as_transformers_computes_it(tmp_path: Path, name: str) -> None:
    folder = write_family(name, tmp_path)
    base = load_base(str(folder), dtype="float32", threads=1)
    assert (base.not_packed is None) == FAMILIES[name].packs
    check_computed(base, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_family_outside_the_table_is_computed_so_too(tmp_path: Path, name: str) -> None:
    """Whether it packs is what the model itself says, and its gradient pass computes what evaluation does."""
    folder, rows = write_family(OTHERS[name][0], tmp_path, OTHERS[name][1]), sequences()[:2]
    base = load_base(str(folder), dtype="float32", threads=1)
    check_computed(base, folder, 1e-4)
    adapter, forest = Adapter(base.shapes, base.fresh_values(0), trainable=True), base.pack(rows)
    with base.attached(None), torch.no_grad():
        bare = base.hidden(forest)
    with base.attached(adapter, learns=True):
        hidden = base.hidden(forest)
        (hidden @ base.head.T).log_softmax(-1)[:, 5].sum().backward()
    assert torch.equal(hidden, bare)
    assert adapter.gradient.isfinite().all()


@pytest.mark.parametrize("kind", OWN_CACHE)
def test_a_model_with_a_cache_of_its_own_is_refused_before_it_samples(tmp_path: Path, kind: str) -> None:
    folder = write_family(kind, tmp_path, OWN_CACHE[kind])
    with pytest.raises(UserError, match=r"does not decode with transformers' own cache .* use model\.sampler=vllm"):
        check_decodes(load_base(str(folder), dtype="float32", threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_pass_computes_what_evaluation_does(tmp_path: Path, name: str, checkpointing: bool) -> None:
    base = load_base(
        str(write_family(name, tmp_path)), dtype="float32", threads=1, gradient_checkpointing=checkpointing
    )
    base.wire(SHAPE)
    values = torch.randn(base.adapter_size, generator=torch.Generator().manual_seed(0)) * 0.05
    adapter, forest = Adapter(base.shapes, values, trainable=True), base.pack(sequences()[:2])
    with base.attached(adapter), torch.no_grad():
        evaluated = base.hidden(forest)
    with base.attached(adapter, learns=True):
        hidden = base.hidden(forest)
        (hidden @ base.head.T).log_softmax(-1)[:, 5].sum().backward()
    assert torch.equal(hidden, evaluated)
    assert adapter.gradient.isfinite().all()
    assert adapter.gradient.abs().max() > 0
    assert not any(module.training for module in base.model.modules())


AWAKE: list[tuple[str, dict[str, Any]]] = [
    ("seed_oss", {"residual_dropout": 0.3, "attention_dropout": 0.3}),
    ("starcoder2", {"residual_dropout": 0.3, "embedding_dropout": 0.3, "sliding_window": None}),
    ("mixtral", {"router_jitter_noise": 0.3, "sliding_window": None}),
]


@pytest.mark.parametrize(("kind", "change"), AWAKE)
def test_neither_dropout_nor_jitter_wakes_for_a_gradient(tmp_path: Path, kind: str, change: dict[str, Any]) -> None:
    base = load_base(str(write_family(kind, tmp_path, change)), dtype="float32", threads=1, gradient_checkpointing=True)
    base.wire(SHAPE)
    forest, adapter = base.pack(sequences()), Adapter(base.shapes, base.fresh_values(0), trainable=True)
    with base.attached(None), torch.no_grad():
        bare = base.hidden(forest)
    with base.attached(adapter, learns=True):
        assert torch.equal(base.hidden(forest), bare)


def test_a_window_that_no_sequence_notices_is_none(tmp_path: Path) -> None:
    folder = str(write_family("mistral", tmp_path, {"sliding_window": 64}))
    assert load_base(folder, dtype="float32", max_model_len=64).not_packed is None
    windowed = load_base(folder, dtype="float32", max_model_len=65)
    assert windowed.not_packed == "attention that does not see all earlier tokens"


SCALED: list[tuple[dict[str, Any], int, int]] = [
    ({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}, 40, 160),
    (
        {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0, 8.0, 16.0, 32.0],
            "original_max_position_embeddings": 40,
            "factor": 12.8,
        },
        512,
        512,
    ),
]


@pytest.mark.parametrize(("rope", "positions", "own"), SCALED)
def test_rotary_frequencies_depend_on_the_runs_limit_alone(
    tmp_path: Path, rope: dict[str, Any], positions: int, own: int
) -> None:
    """Short sequences next to long ones, and those that grow: all are as within one sequence of full length."""
    change = {"rope_parameters": rope, "max_position_embeddings": positions}
    folder, rows = str(write_family("llama", tmp_path, change)), sequences()
    base = load_base(folder, dtype="float32", threads=1)
    assert base.length == own
    base.wire(SHAPE)
    full = tuple(torch.randint(3, 250, (own,), generator=torch.Generator().manual_seed(0)).tolist())
    whole = truth(Path(folder), full)
    with base.attached(None), torch.no_grad():
        found = ours(base, [full[:60], full[:20], *rows])
        torch.testing.assert_close(found[0], whole[:60], atol=1e-4, rtol=0)
        torch.testing.assert_close(found[1], whole[:20], atol=1e-4, rtol=0)
    ((ids, logprobs, _),) = generate(base, None, [full[:30]], max_tokens=20, seed=0)
    with base.attached(None), torch.no_grad():
        again = ours(base, [(*full[:30], *ids[:-1])])[0][-len(ids) :]
    torch.testing.assert_close(
        torch.tensor(logprobs, dtype=torch.float64), again[range(len(ids)), list(ids)], atol=EXACT, rtol=0
    )


def check_exported(base: Base, folder: Path, adapter_folder: Path) -> tuple[Adapter, list[float]]:
    """Compares an adapter with what PEFT makes of its folder; returns it and its log-probabilities of the first row."""
    base.wire(SHAPE)
    values = torch.randn(base.adapter_size, generator=torch.Generator().manual_seed(0)) * 0.1
    adapter, row = Adapter(base.shapes, values), sequences()[0]
    base.export(adapter, adapter_folder)
    check_loads(adapter_folder, str(folder))
    with base.attached(adapter), torch.no_grad():
        found = ours(base, [row])[0]
    logprobs = [float(found[at, token]) for at, token in enumerate(row[1:])]
    theirs = plain_model(str(folder), adapter_folder, dtype="float32", device="cpu")
    assert plain_logprobs(theirs, row, 1.0) == pytest.approx(logprobs, abs=EXACT)
    return adapter, logprobs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_adapter_is_the_same_in_peft(tmp_path: Path, name: str) -> None:
    folder = write_family(name, tmp_path / "model")
    check_exported(load_base(str(folder), dtype="float32", threads=1), folder, tmp_path / "adapter")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", WITH_PICTURES)
def test_a_model_that_sees_pictures_is_loaded_whole_so_that_vllm_finds_its_layers(tmp_path: Path, kind: str) -> None:
    """vLLM serves it whole and passes over, without a word, an adapter with the names of the text part alone."""
    folder, prompt = write_with_pictures(kind, tmp_path / "model"), sequences()[0][:30]
    base = load_base(str(folder), dtype="float32", threads=1)
    assert not sum(parameter.numel() for parameter in base.model.get_encoder("image").parameters())
    adapter, _ = check_exported(base, folder, tmp_path / "adapter")
    assert all("language_model." in name for name in base.shapes)
    ((ids, logprobs, _),) = generate(base, adapter, [prompt], max_tokens=20, seed=0)
    theirs = plain_model(str(folder), tmp_path / "adapter", dtype="float32", device="cpu")
    assert plain_logprobs(theirs, (*prompt, *ids), 1.0)[29:] == pytest.approx(list(logprobs), abs=EXACT)


def test_an_adapter_of_a_model_that_reads_weights_itself_is_the_same_in_peft_and_merged(tmp_path: Path) -> None:
    """Jamba multiplies by the weight of `dt_proj` without calling the layer."""
    layers = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
    settings = {**layers, "use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 8}
    folder = write_family("jamba", tmp_path / "model", {"num_experts": 4, **settings})
    base = load_base(str(folder), dtype="float32", threads=1)
    _, logprobs = check_exported(base, folder, tmp_path / "adapter")
    write_merged(
        plain_model(str(folder), tmp_path / "adapter", dtype="float32", device="cpu"), str(folder), tmp_path / "merged"
    )
    merged = plain_model(str(tmp_path / "merged"), dtype="float32", device="cpu")
    assert plain_logprobs(merged, sequences()[0], 1.0) == pytest.approx(logprobs, abs=EXACT)


def test_the_table_of_the_documentation_is_that_of_these_tests() -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert table() in page, "put this into docs/models.md:\n" + table()
    assert others() in page, "put this into docs/models.md:\n" + others()
