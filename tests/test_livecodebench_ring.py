"""`ttsd` on rows of LiveCodeBench's schema: all phases, with Qwen3's tokenizer, template and architecture, on vLLM.

The model has two random layers, so what it writes is no program: every attempt gets feedback, every step teaches.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch  # noqa: TID253

from tests.commands import finish, rows
from tests.rows import DATA, OWN_ROWS

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "qwen3" / "tokenizer.json").is_file(), reason="there is no shared/data beside this checkout"
    ),
]

# Of each kind of row there one: stdin, without private tests, functional, functional without private tests.
THEIRS = ["lcb_rows.jsonl#abc374_c", "lcb_rows.jsonl#abc374_b", "lcb_rows.jsonl#3607", "lcb_rows.jsonl#3562"]
SETTINGS = (
    "model.dtype=float32", "model.device=cpu", "model.sampler=vllm", "model.max_model_len=3072",
    "model.kv_cache_gib=0.3",
    "sampling.group_size=2", "sampling.max_tokens=24", "reprompt.max_reprompt_len=3000",
    "lora.rank=4", "budget.attempts=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of width 64, with the vocabulary, tokenizer and template of the published models."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("qwen3")
    config = Qwen3Config(
        vocab_size=151_936, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=40_960, tie_word_embeddings=True,
        eos_token_id=151_645, pad_token_id=151_643,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for file in (DATA / "qwen3").iterdir():
        shutil.copy(file, folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


def arguments(model: Path) -> list[str]:
    return [part for setting in (*SETTINGS, f"model.path={model}") for part in ("--set", setting)]


def test_every_kind_of_row_goes_round_the_ring(model: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.jsonl"
    ours.write_text("".join(json.dumps(one) + "\n" for one in OWN_ROWS.values()))
    questions = [*(f"{ours}#{name}" for name in OWN_ROWS), *(f"{DATA}/{name}" for name in THEIRS)]
    status, out, err = finish(
        "batch", *questions, "--methods", "sdpo", *arguments(model), "--at-once", "4", "--json", cwd=tmp_path
    )
    assert status == 0, err
    runs = json.loads(out)["runs"]
    assert [(run["question"], run["attempts"], run["steps"]) for run in runs] == [(name, 4, 2) for name in questions]
    database = tmp_path / "ttsd.sqlite"
    untaught = "select count(*) from attempts where feedback = '' or prompt_tokens < 50"
    assert rows(database, untaught) == [(0,)]
    assert rows(database, "select count(*) from steps where adapter_version = step and loss >= 0") == [(16,)]


def test_solve_takes_a_row_by_its_id(model: Path, tmp_path: Path) -> None:
    quick = ["--set", "model.sampler=transformers"]  # which starts in a tenth of vLLM's time
    status, out, err = finish("solve", f"{DATA}/{THEIRS[0]}", *arguments(model), *quick, "--json", cwd=tmp_path)
    assert status == 1, err
    answer = json.loads(out.splitlines()[-1])
    assert (answer["attempts"], answer["steps"], answer["discovered"]) == (4, 2, False)
    parts = rows(tmp_path / "ttsd.sqlite", "select visible_total, hidden_total from attempts limit 1")
    assert parts != [(0, 0)]
