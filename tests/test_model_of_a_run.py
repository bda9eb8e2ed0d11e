"""The model is part of a run: its revision, its weights and its template's date, on the command line, end to end."""

from __future__ import annotations

import sqlite3
import subprocess
import zlib
from contextlib import closing
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file, save_file

from tests.commands import refused, rows, ttsd
from tests.tiny import TEMPLATE, write_model
from ttsd.backbone import Tokenizer, weights_digest

pytestmark = pytest.mark.slow  # each starts an engine
SETTINGS = [
    "model.sampler=transformers",
    "model.dtype=float32",
    "model.max_model_len=2048",
    "sampling.group_size=4",
    "sampling.max_tokens=16",
    "lora.rank=4",
]


def solve(
    question: str, cwd: Path, attempts: int, *settings: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    every = [*SETTINGS, f"budget.attempts={attempts}", *settings]
    sets = [part for setting in every for part in ("--set", setting)]
    return ttsd("solve", question, "--config", "micro", *sets, cwd=cwd, HF_HUB_OFFLINE="1", **environment)


def change(folder: Path, name: str, value: float) -> None:
    """Fills a tensor of the weights in `folder` with `value`."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_run_is_not_resumed_with_other_weights_at_the_same_path(tmp_path: Path, impossible: str) -> None:
    model = write_model(tmp_path / "model")
    ended = solve(impossible, tmp_path, 4, f"model.path={model}")
    assert ended.returncode == 1, ended.stderr
    write_model(model, seed=1)
    ended = solve(impossible, tmp_path, 8, f"model.path={model}")
    assert "model.path holds other weights, settings or another tokenizer than when this run began" in refused(ended)
    write_model(model)
    ended = solve(impossible, tmp_path, 8, f"model.path={model}")
    assert ended.returncode == 1, ended.stderr
    assert rows(tmp_path / "ttsd.sqlite", "select run, count(*) from attempts group by run") == [(1, 8)]


def test_a_template_that_names_the_date_keeps_it_when_the_run_is_resumed(tmp_path: Path, impossible: str) -> None:
    model, database = write_model(tmp_path / "model"), tmp_path / "ttsd.sqlite"
    (model / "chat_template.jinja").write_text("Today is {{ strftime_now('%Y-%m-%d') }}.\n" + TEMPLATE, "utf-8")
    ended = solve(impossible, tmp_path, 4, f"model.path={model}")
    assert ended.returncode == 1, ended.stderr
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("update runs set environment = json_set(environment, '$.date', '2024-02-29')")
    ended = solve(impossible, tmp_path, 8, f"model.path={model}")
    assert ended.returncode == 1, ended.stderr
    sql = "select prompts.token_ids from attempts join prompts using (prompt) where attempt > 4"
    tokenizer = Tokenizer.load(str(model))
    ids = [memoryview(zlib.decompress(bytes(packed))).cast("i").tolist() for (packed,) in rows(database, sql)]
    prompts = [tokenizer.whole_text(one) for one in ids]
    assert prompts
    assert all(prompt.startswith("Today is 2024-02-29.") for prompt in prompts)


@pytest.mark.parametrize(
    ("tensor", "value", "said"),
    [
        ("lm_head.weight", float("nan"), "has weights that are not finite numbers: lm_head.weight"),
        ("model.norm.weight", 3e38, "computes logits that are not finite"),
    ],
)
def test_logits_that_are_not_numbers_stop_the_run(
    tmp_path: Path, impossible: str, tensor: str, value: float, said: str
) -> None:
    model = write_model(tmp_path / "model", tied=False)
    change(model, tensor, value)
    ended = solve(impossible, tmp_path, 4, f"model.path={model}", "method=best-of-k")
    assert said in refused(ended)


def test_a_revision_of_a_model_on_the_hub_is_what_is_loaded(tmp_path: Path, impossible: str) -> None:
    cache = tmp_path / "hf" / "hub" / "models--org--tiny"
    commits = {"v1": "1" * 40, "v2": "2" * 40}
    for seed, (name, commit) in enumerate(commits.items()):
        (cache / "refs").mkdir(parents=True, exist_ok=True)
        (cache / "refs" / name).write_text(commit)
        (cache / "snapshots" / commit).mkdir(parents=True)
        write_model(cache / "snapshots" / commit, seed=seed)
    hub = {"HF_HOME": str(tmp_path / "hf")}
    for name in commits:
        ended = solve(impossible, tmp_path, 4, "model.path=org/tiny", f"model.revision={name}", **hub)
        assert ended.returncode == 1, ended.stderr
    sql = """select json_extract(config, '$.model.revision'), json_extract(environment, '$.weights'), fingerprint
        from runs order by run"""
    found = rows(tmp_path / "ttsd.sqlite", sql)
    digests = [weights_digest(str(cache / "snapshots" / commit)) for commit in commits.values()]
    assert [row[:2] for row in found] == [*zip(commits, digests, strict=True)]
    assert len({row[2] for row in found}) == 2
    ended = solve(impossible, tmp_path, 4, "model.path=org/tiny", "model.revision=v3", **hub)
    assert "can't fetch revision 'v3' of 'org/tiny'" in refused(ended)
    ended = solve(impossible, tmp_path, 4, f"model.path={cache / 'snapshots' / commits['v1']}", "model.revision=v1")
    assert "is for models on the hub" in refused(ended)
