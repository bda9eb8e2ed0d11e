"""Where a model lies; a GGUF file becomes a folder once, known by its content."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from tests.tiny import write_model
from ttsd.backbone import Tokenizer, check_weight_files, load_base, model_folder, model_sizes, own_length, resolve
from ttsd.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ttsd" / "models"


def test_folders_and_hub_names_are_what_they_are() -> None:
    assert resolve("org/model") == "org/model"
    assert (Path(resolve("micro")) / "config.json").is_file()


def test_a_file_that_was_turned_before_is_found_by_its_content(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.gguf"
    file.write_bytes(b"GGUF and more")
    made = write_model(cache / f"gguf-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}")
    assert resolve(str(file)) == str(made)
    other = tmp_path / "renamed.gguf"
    shutil.copy(file, other)
    assert resolve(str(other)) == str(made)


@pytest.mark.parametrize(
    ("content", "found", "message"),
    [
        (None, True, r"there is no GGUF file .*absent\.gguf"),
        (b"GGUF", False, r"needs the package gguf; run .*ttsd\[gguf\]"),
        (b"no such format", True, r"can't load the .* of .*absent\.gguf"),
    ],
)
def test_what_can_not_be_read_is_said_in_a_sentence(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, found: bool, message: str
) -> None:
    if found:
        pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    else:
        monkeypatch.setattr(model_folder, "find_spec", lambda name: None)
    file = tmp_path / "absent.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        resolve(str(file))
    assert not list(cache.glob("*"))


@pytest.mark.parametrize(("noise", "tied"), [(0.03, True), (3.0, False)])
def test_one_matrix_in_two_quantisations_is_tied_again(tmp_path: Path, noise: float, tied: bool) -> None:
    model = load_base(str(write_model(tmp_path)), dtype="float32").model
    outer = model.get_output_embeddings().weight.detach().clone()
    model.config.tie_word_embeddings = False
    model.get_output_embeddings().weight = torch.nn.Parameter(outer, requires_grad=False)
    inner = outer + noise * outer.std() * torch.randn(outer.shape, generator=torch.Generator().manual_seed(0))
    model.get_input_embeddings().weight = torch.nn.Parameter(inner, requires_grad=False)
    model_folder._tie(model)
    assert model.config.tie_word_embeddings is tied
    assert torch.equal(model.get_input_embeddings().weight, outer) is tied


def test_a_folder_without_tokenizer_files_or_weights_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    check_weight_files(str(folder))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match=r"has no tokenizer files; copy tokenizer\.json"):
        Tokenizer.load(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights"):
        check_weight_files(str(folder))
    check_weight_files("org/model")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 40}, "it gives token"),
        ({"eos_token_id": 300}, "it lacks the model's end token 300"),
        ({"eos_token_id": [2, 300]}, None),
    ],
)
def test_a_tokenizer_of_another_vocabulary_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str | None
) -> None:
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        Tokenizer.load(str(folder))


def changed(file: Path, **values: object) -> None:
    """Sets keys of a JSON file."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | values))


def lose_the_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    changed(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


def lower_all_letters(folder: Path) -> None:
    changed(folder / "tokenizer.json", normalizer={"type": "Lowercase"})


def end_nowhere(folder: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        changed(folder / name, eos_token_id=None, eos_token=None)
    (folder / "chat_template.jinja").write_text("Question: {{ messages[0].content }} Answer:")


def end_in_words(folder: Path) -> None:
    changed(folder / "generation_config.json", eos_token_id="<|im_end|>")


def end_in_a_list_of_lists(folder: Path) -> None:
    changed(folder / "generation_config.json", eos_token_id=[[2]])


def need_a_system_message(folder: Path) -> None:
    needs = "{% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(needs + "{{ messages[-1].content }}")


def end_before_the_last_letters(folder: Path) -> None:
    changed(folder / "config.json", vocab_size=250)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose_the_vocabulary, "can't spell a program: it makes '' of"),
        (lower_all_letters, "can't spell a program: it makes 'class a"),
        (end_nowhere, "names no token that ends an answer; set eos_token in"),
        (end_in_words, r"the end token '<\|im_end\|>' is no number of a token; correct eos_token_id"),
        (end_in_a_list_of_lists, r"the end token \[2\] is no number of a token"),
        (need_a_system_message, r"no system message\); set model\.system_prompt"),
        (end_before_the_last_letters, "it gives token 250, of 250 tokens"),
    ],
)
def test_a_tokenizer_that_can_not_be_used_is_refused(tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    folder = write_model(tmp_path / "model")
    change(folder)
    with pytest.raises(UserError, match=said):
        Tokenizer.load(str(folder))


def test_an_end_token_below_zero_is_none(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    changed(folder / "generation_config.json", eos_token_id=-1)
    assert Tokenizer.load(str(folder)).stop_token_ids == (2,)


def test_an_adapter_in_a_folder_is_no_part_of_the_model(tmp_path: Path) -> None:
    """transformers would load it into the model, whose layers would then be others than vLLM's."""
    folder = write_model(tmp_path / "model")
    changed(folder / "adapter_config.json", peft_type="LORA")
    with pytest.raises(UserError, match=r"holds a model and an adapter; move adapter_config\.json"):
        model_sizes(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"it is an adapter: name the model that it was made for"):
        model_sizes(str(folder))


def test_a_folder_of_the_hubs_cache_names_what_to_give_instead(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name"
    (folder / "snapshots").mkdir(parents=True)
    with pytest.raises(UserError, match="name a folder in its snapshots, or the model on the hub, 'org/name'"):
        model_sizes(str(folder))


def test_a_wrong_value_of_a_configuration_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    changed(folder / "config.json", hidden_size="32")
    with pytest.raises(UserError, match=r"field 'hidden_size': TypeError: .* expected int, got str"):
        model_sizes(str(folder))


@pytest.mark.parametrize(
    "sizes", [{"max_position_embeddings": -5}, {"max_position_embeddings": 10**30}, {"factor": "x"}]
)
def test_a_length_that_no_model_has_is_refused(sizes: dict[str, Any]) -> None:
    rope = {"rope_type": "dynamic", "factor": sizes.get("factor", 1.0)}
    with pytest.raises(UserError, match="gives it a length of"):
        own_length({"max_position_embeddings": 2048, "rope_parameters": rope, **sizes})


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "training_args.bin", "adapter_model.safetensors", "optimizer.bin"]
)
def test_files_that_no_loader_looks_for_are_no_weights(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(UserError, match="has no weights"):
        check_weight_files(str(folder))


def test_parts_that_an_index_of_pytorch_files_names_are_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    changed(folder / "pytorch_model.bin.index.json", weight_map={"a": "pytorch_model-00001-of-00001.bin"})
    check_weight_files(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks pytorch_model-00001-of-00001\.bin of its weights"):
        check_weight_files(str(folder))
