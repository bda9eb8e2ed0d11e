"""Runs whose model is behind an endpoint, as a user starts them: they survive faults, kills and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from tests.commands import finish, refused, rows, start, ttsd, wait_for, wait_until_gone
from tests.endpoint_server import Scripted, answer, answers, piece, plain, status, stream, usage
from ttsd.backbone import resolve
from ttsd.config import load_config
from ttsd.machine.capacity import endpoint_capacity

RIGHT = "```python\nprint(sum(map(int, input().split())))\n```"
WRONG = "```python\nprint(0)\n```"
KEY = "sk-very-secret-0123456789"


def on(server: Scripted, *more: str) -> list[str]:
    settings = [f"model.path={server.url}", "model.name=m", "sampling.max_tokens=64", "sampling.group_size=4", *more]
    return [part for setting in settings for part in ("--set", setting)]


def numbers(database: Path) -> list[object]:
    return [number for (number,) in rows(database, "select attempt from attempts order by attempt")]


@pytest.mark.slow
def test_a_run_survives_a_server_that_fails_and_counts_each_attempt_once(tmp_path: Path, folder: Path) -> None:
    faults = [status(429, Retry_After="0"), status(500), stream(piece("x"), cut=True), plain("<html>")]
    replies = [part for fault in faults for part in (fault, answer(WRONG))]
    with Scripted(*replies, answer(RIGHT)).running() as server:
        prices = ("endpoint.prompt_price=1000", "endpoint.completion_price=0")
        command = ["solve", str(folder), "--method", "multi-turn", "--json", *on(server, *prices)]
        ended = ttsd("--log", "log.txt", *command, cwd=tmp_path, OPENAI_API_KEY=KEY, TTSD_TRACEBACK="1")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["discovery_attempt"], found["attempts"], found["program"]) == (5, 5, RIGHT.split("\n")[1] + "\n")
    database = tmp_path / "ttsd.sqlite"
    counted = rows(database, "select attempt, prompt_tokens, completion_tokens, length(token_ids) from attempts")
    assert counted == [(number, 100, 40, 0) for number in range(1, 6)]
    ((dollars,),) = rows(database, "select sum(dollars) from attempts")
    assert 0.5 <= float(str(dollars)) < 0.8  # five prompts, and the one whose answer was cut off
    assert rows(database, "select model from runs") == [(f"m at {server.url}",)]
    assert "Expected:\n3" in server.asked[-1]["messages"][0]["content"]
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in ended.stderr + ended.stdout
    assert KEY.encode() not in everything
    assert f"endpoint: m at {server.url}, at most 16 requests at once, $1000 and $0 for" in ended.stderr


@pytest.mark.slow
def test_a_budget_of_dollars_ends_a_run_and_a_larger_one_extends_it(tmp_path: Path, impossible: str) -> None:
    with Scripted(answer(WRONG)).running() as server:
        prices = ("endpoint.prompt_price=100", "endpoint.completion_price=1000")  # 5 cents an attempt
        command = ["solve", impossible, "--method", "best-of-k", "--json", *on(server, *prices)]
        first = json.loads(finish(*command, "--set", "budget.dollars=0.3", cwd=tmp_path)[1])
        assert (first["attempts"], first["ended"]) == (8, "dollars")  # whole groups of four
        _, out, err = finish(*command, "--set", "budget.dollars=0.3", cwd=tmp_path)
        assert (json.loads(out), "budget.dollars=N extends it" in err) == (first, True)
        _, out, err = finish(*command, "--set", "budget.dollars=0.5", cwd=tmp_path)
        assert (json.loads(out)["attempts"], len(server.asked)) == (12, 12)
        assert "$0.6" in err
        batch = ["batch", impossible, "--methods", "best-of-k,multi-turn", "--seeds", "2", *on(server, *prices)]
        ended = ttsd(*batch, "--set", "budget.dollars=0.3", "--set", "budget.attempts=40", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    sql = "select method, ended, count(*), round(sum(a.dollars), 9) from attempts a join runs using (run)"
    made = rows(tmp_path / "ttsd.sqlite", f"{sql} where run > 1 group by run")
    both = [("best-of-k", "dollars", 8, 0.4), ("multi-turn", "dollars", 6, 0.3)]  # whose rounds are smaller
    assert made == [*both, *both]
    shown = ttsd("show", "1", "--attempt", "3", cwd=tmp_path).stdout
    assert "prompt of 100 tokens, answer of 40 (stop), $0.05" in shown
    assert json.loads(ttsd("show", "1", "--attempt", "3", "--json", cwd=tmp_path).stdout)["completion_tokens"] == 40


@pytest.mark.slow
def test_a_stop_is_immediate_while_the_server_is_silent_and_nothing_is_lost(tmp_path: Path, impossible: str) -> None:
    """The first two attempts are answered; then the server says nothing. A kill in that state loses nothing either."""
    replies = [answer(WRONG), answer(WRONG), *[stream(piece("x"), wait=600.0)] * 2, answer(WRONG)]
    with Scripted(*replies).running() as server:
        command = ["solve", impossible, "--method", "multi-turn", *on(server, "budget.attempts=6")]
        for asked, end in ((3, signal.SIGINT), (4, signal.SIGKILL)):
            process = start(*command, cwd=tmp_path)
            wait_for(process, tmp_path / "ttsd.sqlite", 2)
            while len(server.asked) < asked:
                time.sleep(0.05)
            process.send_signal(end)
            began = time.monotonic()
            _, err = process.communicate()
            assert time.monotonic() - began < 60  # of the 600 that the server would be silent
            assert process.returncode == (130 if end is signal.SIGINT else -9), err
            assert end is signal.SIGKILL or "the same command resumes" in err
            wait_until_gone(process)
        code, _, err = finish(*command, cwd=tmp_path)
    assert code == 1, err
    assert numbers(tmp_path / "ttsd.sqlite") == [1, 2, 3, 4, 5, 6]
    assert rows(tmp_path / "ttsd.sqlite", "select count(*) from runs") == [(1,)]
    assert len(server.asked) == 8


@pytest.mark.slow
def test_batch_and_probe_share_the_endpoint(tmp_path: Path, folder: Path, impossible: str) -> None:
    with Scripted(stream(piece(WRONG, "stop"), usage(10, 10), wait=0.01)).running() as server:
        settings = on(server, "endpoint.requests=2", "budget.attempts=4")
        command = ["batch", str(folder), impossible, "--methods", "best-of-k,multi-turn", "--json", *settings]
        ended = ttsd(*command, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert [one["attempts"] for one in json.loads(ended.stdout)["runs"]] == [4] * 4
        assert server.most_busy == 2
        probe = ["probe", str(folder), "--samples", "8", "--feedback-samples", "2", "--json", *settings]
        ended = ttsd(*probe, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["questions"][0]["attempts"] == 8


@pytest.mark.slow
def test_what_needs_a_model_on_this_machine_says_so(tmp_path: Path, folder: Path) -> None:
    with Scripted(answer(WRONG)).running() as server:
        settings = on(server, "budget.attempts=2")
        learning = refused(ttsd("solve", str(folder), *settings, cwd=tmp_path))
        assert "sdpo trains the model, and the one at http" in learning
        assert "choose one of multi-turn, search, best-of-k, or" in learning
        dry = ttsd("solve", str(folder), *settings, "--method", "best-of-k", "--dry-run", cwd=tmp_path)
        assert dry.stderr.startswith("endpoint: m at http"), dry.stderr
        assert "Print the sum of the two numbers." in dry.stdout
        assert server.asked == []
        assert json.loads(ttsd("config", "show", "--json", *settings, cwd=tmp_path).stdout)["memory"] == []
        found = json.loads(ttsd("doctor", "--hot-swap", "--json", *settings, cwd=tmp_path).stdout)
        about = {one["what"]: (one["works"], one["detail"]) for one in found}
        assert about["endpoint"] == (True, f"m at {server.url} serves m")
        for given, works, said in (
            (f"model.path={server.url.removesuffix('/v1')}", None, "most end in /v1"),
            ("model.name=x", False, f"model.name=x, but {server.url} serves m; correct it"),
            ("model.name=none", False, f"model.name=none, but {server.url} serves m; correct it"),
        ):
            found = json.loads(ttsd("doctor", "--json", *settings, "--set", given, cwd=tmp_path).stdout)
            (endpoint,) = [one for one in found if one["what"] == "endpoint"]
            assert (endpoint["works"], said in endpoint["detail"]) == (works, True), endpoint
        assert about["sampler"][1].startswith("openai ")
        assert about["adapter hot-swap"] == (False, f"{server.url} is an endpoint, which takes no adapters")
        assert {"device", "memory", "chat template"} & set(about) == set()
        assert finish("solve", str(folder), *settings, "--method", "best-of-k", cwd=tmp_path)[0] == 1
    assert "run 1 (best-of-k) has no adapter" in refused(ttsd("export", "1", "out", *settings, cwd=tmp_path))
    for given in ([], settings):  # no model is loaded that the user would have to name
        shown = ttsd("show", "1", "--attempt", "1", "--tokens", *given, cwd=tmp_path)
        assert "sampled by an endpoint" in refused_after(shown)
    gone = json.loads(ttsd("doctor", "--json", *settings, cwd=tmp_path).stdout)
    assert "no endpoint answers" in next(one["detail"] for one in gone if one["what"] == "endpoint")


@pytest.mark.slow
def test_an_address_that_is_not_right_is_one_sentence(tmp_path: Path, folder: Path) -> None:
    def said(code: int, url: str, *more: str) -> str:
        chosen = [part for one in ("sampling.group_size=2", *more) for part in ("--set", one)]
        return refused(
            ttsd("solve", str(folder), "-m", url, "--method", "best-of-k", *chosen, cwd=tmp_path, OPENAI_API_KEY=KEY),
            code,
        )

    assert "no endpoint answers at http://127.0.0.1:9/v1" in said(3, "http://127.0.0.1:9/v1", "model.name=m")
    several = {"object": "list", "data": [{"id": name, "object": "model"} for name in ("a", "b")]}
    with Scripted(status(404, "no model x"), models=lambda _: JSONResponse(several)).running() as server:
        assert f"name a model that {server.url} serves (a, b)" in said(2, server.url)
        assert "no model x); check URL and name of the model x (it serves a, b)" in said(2, server.url, "model.name=x")
        assert "(most URLs end in /v1)" in said(2, server.url.removesuffix("/v1"), "model.name=a")
    with Scripted(models=status(401, f"wrong key {KEY}")).running() as server:
        refusal = said(2, server.url, "model.name=m")
        assert "refuses the key; put one that it knows into OPENAI_API_KEY" in refusal
        assert KEY not in refusal


@pytest.mark.slow
def test_engines_of_a_ray_cluster_share_the_endpoint(tmp_path: Path, folder: Path, impossible: str) -> None:
    pytest.importorskip("ray", reason='ray is not installed: pip install "ttsd[ray]"')
    with Scripted(answer(WRONG)).running() as server:
        settings = on(server, "budget.attempts=4", "endpoint.key_variable=TTSD_TEST_KEY")
        command = ["batch", str(folder), impossible, "--methods", "best-of-k", "--ray", "local", "--ray-workers", "2"]
        ended = ttsd(*command, *settings, cwd=tmp_path, TTSD_TEST_KEY=KEY)
        assert ended.returncode == 0, ended.stderr
        assert len(server.asked) == 8
        assert {one["authorization"] for one in server.headers} == {f"Bearer {KEY}"}
    assert rows(tmp_path / "ttsd.sqlite", "select run, count(*) from attempts group by run") == [(1, 4), (2, 4)]


def refused_after(ended: subprocess.CompletedProcess[str]) -> str:
    """Returns the sentence of an error that follows an answer."""
    assert ended.returncode == 2, ended.stderr
    return ended.stderr.strip()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model.path=http://me:sekret@host/v1"], "the URL in path has a user, a query or a fragment"),
        (["model.path=https://host/v1?api-key=sekret"], "the URL in path has a user, a query or a fragment"),
        (["reprompt.hints=http://me:sekret@host/v1"], "the URL in hints has a user, a query or a fragment"),
        (["reprompt.hints=qwen"], "hints=qwen is no URL of an endpoint"),
        (["model.sampler=endpoint"], "path=micro is no URL of an endpoint"),
        (["endpoint.key_variable=sk-sekret"], "key_variable is no name of a variable"),
        (["budget.dollars=1"], "budget.dollars=1.0 needs prices"),
    ],
)
def test_settings_hold_no_secret_and_contradict_nothing(settings: list[str], said: str) -> None:
    with pytest.raises(Exception, match=said) as refusal:
        load_config("micro", settings)
    assert "sekret" not in str(refusal.value)


def test_a_url_is_an_endpoint_whatever_else_is_set() -> None:
    config = load_config(None, ["model.sampler=vllm", "model.path=http://h/v1", "method=multi-turn"])
    assert config.model.sampler == "endpoint"
    assert str(endpoint_capacity(config, 40)) == "16 runs at once (endpoint.requests)"
    assert str(endpoint_capacity(config, 3)) == "3 runs at once (all of them)"
    assert endpoint_capacity(config.model_copy(update={"method": "best-of-k"}), 40).runs == 1


def test_without_the_client_the_remedy_is_said(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['openai'] = None\n")
    path = f"{tmp_path}:{Path(__file__).parents[1]}"
    with Scripted(answer(WRONG)).running() as server:
        ended = ttsd("solve", str(folder), "--method", "best-of-k", *on(server), cwd=tmp_path, PYTHONPATH=path)
    assert 'pip install "ttsd[endpoint]"' in refused(ended)


@pytest.mark.slow
def test_vllms_own_server_samples(tmp_path: Path, folder: Path) -> None:
    """A real server with the bundled model: text, log-probabilities and counts are there, and the limit holds."""
    pytest.importorskip("vllm", reason="vLLM is not installed: there is no real server to ask")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    options = ["--served-model-name", "micro", "--host", "127.0.0.1", "--port", port, "--max-model-len", "2048"]
    with (tmp_path / "served.txt").open("w+") as log:
        serving = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve("micro"), *options],
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_TARGET_DEVICE": "cpu"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            while serving.poll() is None and not answers(f"{url}/models"):
                time.sleep(0.5)
            log.seek(0)
            assert serving.poll() is None, log.read()[-2000:]
            settings = [f"model.path={url}", "model.name=micro", "sampling.max_tokens=48", "budget.attempts=4"]
            chosen = [part for one in [*settings, "sampling.group_size=4"] for part in ("--set", one)]
            code, _, err = finish("solve", str(folder), "--method", "best-of-k", *chosen, cwd=tmp_path)
        finally:
            os.killpg(serving.pid, signal.SIGKILL)
            serving.wait()
    assert code in (0, 1), err
    database = tmp_path / "ttsd.sqlite"
    sql = "select completion_tokens, length(logprobs) / 8, mean_logprob < 0, prompt_tokens > 20 from attempts"
    made = rows(database, f"{sql} where verdict != 'aborted'")
    assert made
    for tokens, logprobs, finite, prompt in made:
        assert 0 < int(str(tokens)) <= 48
        assert abs(int(str(tokens)) - int(str(logprobs))) <= 1  # the end of the turn may have none
        assert (finite, prompt) == (1, 1)
