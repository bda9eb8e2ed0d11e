"""Where a model lies; a GGUF file becomes a folder once, known by its content."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from tests.tiny import write_model
from ttsd.backbone import Tokenizer, check_weight_files, load_base, model_folder, resolve
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
