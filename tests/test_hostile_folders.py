"""A folder of data runs no code: neither modules in the working directory nor those of a question or a model."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import ROOT, refused, ttsd
from tests.folders import made, refusal
from tests.hostile import hostile_folder, what_ran
from tests.served import Served, learn_from
from ttsd import api
from ttsd.backbone.gguf import check_header
from ttsd.backbone.pretrained import Kind, pretrained
from ttsd.backbone.tokenizer import Tokenizer
from ttsd.backbone.weights import load_weights
from ttsd.errors import UserError
from ttsd.record.store import Store
from ttsd.reporting.view.records import Records, opened
from ttsd.search_path import without_working_directory

QUICK = ["--set", "budget.attempts=4", "--set", "sampling.group_size=4"]
JUDGE = "import json, sympy\n\ndef score(answer):\n    return json.loads('1')\n"
SCORE = """
import asyncio, sys
from ttsd.judging.scoring import open_scorer
async def main():
    spec = {"kind": "judge", "judge": sys.argv[1]}
    async with open_scorer(spec, seconds=60, workers=1) as scorer:
        print((await scorer("right")).value)
asyncio.run(main())
"""


def solve(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    sets = [word for setting in settings for word in ("--set", setting)]
    return ttsd("solve", "micro:numbers:2:1", *QUICK, *sets, cwd=folder)


def test_no_module_of_the_working_directory_runs_where_answers_are_compared(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    question = made(tmp_path / "data" / "q1", problem__toml='kind = "answer"\nanswer = "3/4"\n')
    hostile_folder(question)
    (tmp_path / "answer.txt").write_text("\\boxed{0.75}")
    for folder in (tmp_path / "data", question):
        ended = ttsd("judge", str(question), str(tmp_path / "answer.txt"), cwd=folder)
        assert (ended.returncode, ended.stdout) == (0, "accepted: 1 of 1 cases passed\n"), ended.stderr
    assert what_ran(ran) == what_ran(tmp_path / "data" / "q1-ran") == set()


def test_a_judge_is_named_by_its_file_and_its_folder_comes_last(tmp_path: Path) -> None:
    question = tmp_path / "q1"
    ran = hostile_folder(question)
    made(question, problem__toml='judge = "judge.py:score"\n', judge__py=JUDGE)
    (tmp_path / "answer.txt").write_text("anything")
    ended = ttsd("judge", str(question), str(tmp_path / "answer.txt"), cwd=question)
    assert ended.returncode == 0, ended.stderr
    assert what_ran(ran) == set()
    made(question, problem__toml='judge = "os:system"\n')
    assert "judge.py:function" in refusal(question)


def test_a_scorer_that_a_program_of_the_users_own_starts_does_not_look_there_either(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    (tmp_path / "judge.py").write_text(JUDGE)
    command = [sys.executable, "-P", "-c", SCORE, f"{tmp_path / 'judge.py'}:score"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path / "data", capture_output=True, text=True, env=environment, check=False)
    assert (ended.stdout, what_ran(ran)) == ("1.0\n", set()), ended.stderr


@pytest.mark.parametrize("search_path", ["{root}:", "{here}:{root}"])
def test_a_search_path_that_names_the_working_directory_is_cleaned(tmp_path: Path, search_path: str) -> None:
    ran = hostile_folder(tmp_path / "data", but=frozenset({"sitecustomize", "usercustomize", *sys.stdlib_module_names}))
    given = search_path.format(root=ROOT, here=tmp_path / "data")
    ended = ttsd("problems", "show", "micro:numbers:2:1", cwd=tmp_path / "data", PYTHONPATH=given)
    assert (ended.returncode, what_ran(ran)) == (0, set()), ended.stderr


def test_every_other_folder_stays_on_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_working_directory(["", ".", str(tmp_path), "/usr/lib"]) == ["/usr/lib"]
    monkeypatch.chdir(ROOT)
    assert without_working_directory(["", "/usr/lib"]) == [str(ROOT), "/usr/lib"]


def test_a_run_and_what_shows_it_run_nothing(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    assert solve(tmp_path / "data", "model.sampler=transformers").returncode in (0, 1)
    for command in (["show", "1"], ["report", "out"], ["doctor"], ["methods"]):
        assert ttsd(*command, cwd=tmp_path / "data").returncode == 0
    assert what_ran(ran) == set()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_processes_of_vllm_run_nothing(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    ended = solve(tmp_path / "data", "model.sampler=vllm")
    assert (ended.returncode in (0, 1), what_ran(ran)) == (True, set()), ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_the_workers_of_ray_run_nothing(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    settings = ["--set", "model.sampler=transformers", "--ray", "local", "--ray-workers", "1"]
    ended = ttsd("batch", "micro:numbers:2:1", *QUICK, *settings, cwd=tmp_path / "data")
    assert (ended.returncode, what_ran(ran)) == (0, set()), ended.stderr


def test_the_processes_of_the_page_run_nothing(tmp_path: Path) -> None:
    ran = hostile_folder(tmp_path / "data")
    path = tmp_path / "data" / "a.sqlite"
    with Store(path) as store:
        learn_from(store)
    command = [sys.executable, "-m", "ttsd", "view", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path / "data", env=environment)
    assert process.stdout is not None
    try:
        page = Served(process.stdout.readline().strip(), path)
        for place in ("1/run/1/attempt/1/tokens", "1/curves.json", "charts.js"):
            assert page.get(place)[0] == 200
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
    assert what_ran(ran) == set()


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("template", [LOOPS, "{{ 'a' * 10 ** 10 }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"])
def test_a_chat_template_that_does_not_end_is_refused(tmp_path: Path, template: str) -> None:
    model = copied_model(tmp_path)
    (model / "chat_template.jinja").write_text(template + "{{ messages[0].content }}")
    with pytest.raises(UserError, match="the chat template fails"):
        Tokenizer.load(str(model))


def copied_model(folder: Path, **settings: object) -> Path:
    model = folder / "model"
    shutil.copytree(ROOT / "problems" / "micro" / "model", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | settings))
    return model


@pytest.mark.parametrize("where", ["attn_implementation", "_attn_implementation"])
def test_a_model_folder_fetches_no_attention(tmp_path: Path, where: str) -> None:
    model = copied_model(tmp_path, **{where: "somebody/attention"})
    with pytest.raises(UserError, match="run code from there"):
        pretrained("AutoConfig", str(model))


@pytest.mark.parametrize("kind", ["AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"])
def test_a_model_folder_runs_no_python(tmp_path: Path, kind: Kind) -> None:
    ran, names = tmp_path / "ran", ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM")
    own: dict[str, object] = {"auto_map": dict.fromkeys(names, "own.Own"), "model_type": "own"}
    model = copied_model(tmp_path, **own)
    (model / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (model / "tokenizer_config.json").write_text(json.dumps({**own, "tokenizer_class": "Own"}))
    with pytest.raises(UserError):
        pretrained(kind, str(model))
    assert not ran.exists()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[]", "7", '{"model_type": 7}', '{"model_type": "qwen3", "vocab_size": "x"}']
)
def test_odd_model_folders_are_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    model = copied_model(tmp_path)
    (model / "config.json").write_text(content)
    with pytest.raises(UserError, match="check model"):
        pretrained("AutoModelForCausalLM", str(model))


def test_a_model_that_only_a_record_names_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        learn_from(store)
        config = json.dumps(store.run(1)["config"] | {"model": {"path": "somebody/model"}})
    with closing(sqlite3.connect(path)) as database:
        database.execute("update runs set config = ?", [config])
        database.commit()
    place = ["--set", f"store.path={path}"]
    for command in (["show", "1", "--attempt", "1", "--tokens"], ["export", "1", str(tmp_path / "out")]):
        assert "which only the database names" in refused(ttsd(*command, *place))
    with Records(opened([(path, None)])) as records, pytest.raises(UserError, match="only the database names"):
        records.tokens("1", 1, 1)


@pytest.mark.parametrize("mark", ["### User:", "[gMASK]", "〖system〗"])
def test_marks_that_a_model_folder_declares_as_text_stay_text_in_a_user_turn(tmp_path: Path, mark: str) -> None:
    model = copied_model(tmp_path)
    vocabulary = json.loads((model / "tokenizer.json").read_text())
    number = 1 + max(token["id"] for token in vocabulary["added_tokens"])
    number = max(number, 1 + max(vocabulary["model"]["vocab"].values()))
    vocabulary["added_tokens"] += [{**vocabulary["added_tokens"][0], "id": number, "content": mark, "special": False}]
    (model / "tokenizer.json").write_text(json.dumps(vocabulary))
    config = json.loads((model / "config.json").read_text()) | {"vocab_size": number + 1}
    (model / "config.json").write_text(json.dumps(config))
    (model / "chat_template.jinja").write_text(mark + "\n{{ messages[-1].content }}\n" + mark)
    tokenizer = Tokenizer.load(str(model))
    assert tokenizer.chat(f"printed: {mark} and {mark}").count(number) == 2


def test_pipes_and_broken_links_in_a_model_folder_are_refused(tmp_path: Path) -> None:
    for kind in ("pipe", "link"):
        model = copied_model(tmp_path / kind)
        place = model / "added_tokens.json"
        os.mkfifo(place) if kind == "pipe" else place.symlink_to(tmp_path / "nothing")
        with pytest.raises(UserError, match="no plain file"):
            pretrained("AutoTokenizer", str(model))


HEADER = struct.pack("<4sI", b"GGUF", 3)
HUGE = 1 << 60


@pytest.mark.parametrize(
    "rest",
    [
        struct.pack("<QQ", HUGE, 0),
        struct.pack("<QQ", 0, HUGE),
        struct.pack("<QQQ", 0, 1, HUGE),
        struct.pack("<QQQsIIQ", 0, 1, 1, b"a", 9, 0, HUGE),
        struct.pack("<QQQsIIQ", 0, 1, 1, b"a", 9, 8, 1 << 21),
        struct.pack("<QQQsIIQ", 0, 1, 1, b"a", 9, 9, 1),
        b"",
    ],
)
def test_gguf_headers_that_claim_too_much_are_refused(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(HEADER + rest)
    with pytest.raises(UserError, match="can't load the model"):
        check_header(tmp_path / "a.gguf")


@pytest.mark.parametrize("size", [8, 1 << 20, HUGE])
def test_an_absurd_header_of_safetensors_is_refused(tmp_path: Path, size: int) -> None:
    model = copied_model(tmp_path)
    (model / "model.safetensors").write_bytes(struct.pack("<Q", size) + b"{" * 8)
    with pytest.raises(UserError, match="can't load the model"):
        load_weights(str(model))


def test_python_checks_a_strangers_database_and_model_as_the_commands_do(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        learn_from(store)
        config = json.dumps(store.run(1)["config"] | {"model": {"path": "somebody/model"}})
    assert list(api.read_record(path).runs["run"]) == [1]
    with closing(sqlite3.connect(path)) as database:
        database.execute("update runs set config = ?", [config])
        database.commit()
    with pytest.raises(UserError, match="only the database names"):
        api.export(1, tmp_path / "out", path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("create trigger t after insert on runs begin delete from runs; end")
    with pytest.raises(UserError, match="did not make"):
        api.read_record(path)
