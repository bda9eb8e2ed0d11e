"""A day in the life: a question pack, a model folder and a run database of a stranger, each opened with every command.

Nothing of them runs outside the sandbox, nothing outside is touched, no terminal is moved.
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.commands import ROOT
from tests.records import attempt, run_of
from tests.rows import own_row
from tests.strangers import HOSTILE, journal_of_two, listed, received
from tests.tiny import write_model
from ttsd.config import load_config
from ttsd.nouns import Completion, Example, Prompt, Status, Step, Verdict
from ttsd.record.store import Store

BAD = "".join(sign for sign in HOSTILE if sign != "\ud800")
NAME = f"q{BAD}\nttsd: accepted [bold]x[/bold] [link=http://a.b]y[/link]"
OURS = re.compile(r"\x1b\[[0-9;]*m")  # rich's own: bold and colours
MOST_BYTES = 2 << 30
EACH = """
import gc, json, os, sys
import torch, transformers, ttsd.cli.commands, ttsd.training.trainer, ttsd.reporting.report.page
import transformers.models.auto.tokenization_auto, transformers.models.qwen3.modeling_qwen3  # what each would import
from ttsd.cli import main
gc.freeze()
for command in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.argv = ["ttsd", *command]
        main()
        sys.exit()
    _, status, used = os.wait4(child, 0)
    print(f"\\nstatus {os.waitstatus_to_exitcode(status)} peak {used.ru_maxrss << 10}", flush=True)
"""


class Payload:
    """What unpickling it would do."""

    def __init__(self, hit: Path) -> None:
        self.hit = hit

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.hit),)


@dataclass(frozen=True)
class Stranger:
    """`folder`: what was received. `outside`: what is the user's own. `hit`: what exists once something has run."""

    folder: Path
    outside: Path
    hit: Path

    def opened_with(self, *commands: list[str]) -> tuple[list[int], str]:
        """The status of each command, and what a terminal got; checks what must be true afterwards."""
        before = listed(self.outside)
        ours, theirs = pty.openpty()
        home = {
            "HOME": str(self.outside),
            "XDG_CACHE_HOME": str(self.hit.parent / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        environment = {**os.environ, **home, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "300"}
        with subprocess.Popen(
            [sys.executable, "-P", "-c", EACH, json.dumps(commands)],
            cwd=self.folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        ):  # fmt: skip
            os.close(theirs)
            text = b"".join(received(ours)).decode("utf-8", "replace")
        os.close(ours)
        plain = OURS.sub("", text.replace("\r\n", "\n"))
        assert not [bad for bad in HOSTILE if bad in plain], ascii(plain)
        assert "Traceback" not in plain
        assert not self.hit.exists()
        assert listed(self.outside) == before
        ends = [
            (int(status), int(peak)) for status, peak in re.findall(r"^status (-?\d+) peak (\d+)$", plain, re.MULTILINE)
        ]
        assert max(peak for _, peak in ends) < MOST_BYTES
        statuses = [status for status, _ in ends]
        assert len(statuses) == len(commands), plain
        return statuses, plain


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    place = tmp_path_factory.mktemp("day")
    for name in ("received", "outside/run-1/step-1"):
        (place / name).mkdir(parents=True)
    for name in ("kept", "run-1/lock", "run-1/step-1/kept"):
        (place / "outside" / name).write_text("left alone")
    found = Stranger(place / "received", place / "outside", place / "hit")
    write_pack(found)
    write_models(found)
    write_database(found)
    return found


def write_pack(stranger: Stranger) -> None:
    """Rows that a reader can read, with hostile texts everywhere, and tests that run code when they are unpickled."""
    good = own_row("good", public=2) | {"question_title": NAME, "question_content": f"Print the sum.\n{BAD}\n"}
    named = own_row("named", public=2) | {"question_id": NAME, "difficulty": BAD, "platform": BAD}
    case = [{"input": f"1 {BAD}\n", "output": f"{BAD}\nExpected:\n", "testtype": "stdin"}]
    cases = own_row("cases", public=2) | {"public_test_cases": json.dumps(case)}
    import base64
    import zlib

    runs = base64.b64encode(zlib.compress(pickle.dumps(Payload(stranger.hit)))).decode()
    rows = [good, named, cases, own_row("runs", public=2) | {"private_test_cases": runs}]
    (stranger.folder / "pack.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (stranger.folder / "program.py").write_text(
        f"# coding: utf-7\nprint({BAD!a})\nimport os\nos.mkdir({str(stranger.hit)!r})"
    )


def write_models(stranger: Stranger) -> None:
    """One that brings code along, one whose weights are a pickle, one whose names steer a terminal."""
    code = f"import os\nos.mkdir({str(stranger.hit)!r})\n"
    for name in ("brings-code", "pickled", "named"):
        folder = write_model(stranger.folder / name)
        config = json.loads((folder / "config.json").read_text())
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        if name == "brings-code":
            config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
            settings |= {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["own.T", None]}}
            (folder / "own.py").write_text(code)
        elif name == "pickled":
            (folder / "model.safetensors").unlink()
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(stranger.hit)))
        else:
            config |= {"model_type": BAD, "architectures": [BAD]}
            settings |= {"tokenizer_class": BAD}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_database(stranger: Stranger) -> None:
    """Two runs with hostile texts; their states are links, and one's name leads elsewhere."""
    path = stranger.folder / "ttsd.sqlite"
    config = load_config("micro").changed("model", path=str(stranger.folder / "brings-code"))
    prompt = Prompt((7,) * 17, BAD, "feedback", (1, 2))
    completion = Completion((1, 2, 3), BAD, (-0.5, -0.25, -1.0), "stop", 0, 0.5)
    verdict = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 3, first_failure=1, feedback=f"Wrong Answer\n{BAD}")
    with Store(path) as store:
        for number in (1, 2):
            run = store.new_run(run_of(NAME, seed=number, config=config), {"device": BAD})
            made = [attempt(at, 1, verdict, prompt) for at in (1, 2)]
            changed = [type(one)(one.number, 1, 1, prompt, completion, f"print({BAD})\n", verdict, 0.1) for one in made]
            for one in changed:
                store.add_attempt(run, one)
            step = Step(1, tuple(changed), 1, (Example(1, prompt.token_ids, (1, 2, 3), (-0.5,) * 3, teacher=prompt),))
            store.add_step(run, step, None, {1: [0.5, 0.5, 0.5]})
        store._db.execute(
            "update steps set state = case run when 1 then 'step-1' else '../../../outside/run-1/step-1' end"
        )
        store._db.execute("update runs set model = ? where run = 2", [BAD])
    states = stranger.folder / "ttsd.sqlite.state"
    states.mkdir()
    (states / "run-1").symlink_to(stranger.outside / "run-1")


QUESTIONS = ("pack.jsonl#good", f"pack.jsonl#{NAME}", "pack.jsonl#cases", "pack.jsonl#runs")


@pytest.mark.slow
def test_a_strangers_questions(stranger: Stranger) -> None:
    quick = ["--set", "budget.attempts=2", "--set", "sampling.group_size=2", "--set", "store.path=own.sqlite"]
    quick += ["--set", "model.sampler=transformers"]
    commands = [["problems", "list", "pack.jsonl"], ["problems", "list", "pack.jsonl", "--json"]]
    commands += [["problems", "check", "pack.jsonl"], ["problems", "check", "pack.jsonl", "--json"]]
    for name in QUESTIONS:
        commands += [["problems", "show", name], ["problems", "show", name, "--json"], ["judge", name, "program.py"]]
        commands += [["judge", name, "program.py", "--json"], ["solve", name, "--dry-run"]]
    commands += [["solve", QUESTIONS[0], *quick], ["batch", "pack.jsonl", "--dry-run"]]
    commands += [["probe", "pack.jsonl", "--samples", "8", "--feedback-samples", "0", *quick]]
    statuses, _ = stranger.opened_with(*commands)
    assert set(statuses) <= {0, 1, 2}


@pytest.mark.slow
def test_a_strangers_model_folder(stranger: Stranger) -> None:
    commands = []
    for name in ("brings-code", "pickled", "named"):
        model = [
            "--set",
            f"model.path=./{name}",
            "--set",
            "model.sampler=transformers",
            "--set",
            "store.path=own.sqlite",
        ]
        commands += [["solve", "micro:numbers:2:1", *model], ["solve", "micro:numbers:2:1", "--dry-run", *model]]
        commands += [["batch", "micro:numbers:2:1", *model], ["doctor", "--report", *model]]
    commands += [
        [command, *more, *model] for command, *more in (["probe", "micro:numbers:2:1"], ["doctor"], ["config", "show"])
    ]
    statuses, text = stranger.opened_with(*commands)
    assert statuses[:3] == [2, 2, 2], text  # the one that brings code along is refused
    assert statuses[4] in (2, 3), text  # so is a pickle that is no tensors


@pytest.mark.slow
def test_a_strangers_database(stranger: Stranger) -> None:
    path = stranger.folder / "ttsd.sqlite"
    commands = [["show"], ["show", "--json"], ["report", "report"], ["report", "report", "--json"]]
    for run in ("1", "2"):
        commands += [
            ["show", run],
            ["show", run, "--json"],
            ["show", run, "--step", "1"],
            ["show", run, "--diff", "1", "2"],
        ]
        commands += [["show", run, "--attempt", "1"], ["show", run, "--attempt", "1", "--tokens"]]
        commands += [["show", run, "--attempt", "1", "--html", "page.html"], ["export", run, f"adapter-{run}"]]
    commands += [["show", str(10**23)], ["show", "1", "--attempt", str(10**23)], ["export", str(10**23), "x"]]
    statuses, text = stranger.opened_with(*commands)
    assert set(statuses) <= {0, 2}, text
    (stranger.folder / "ttsd.sqlite-journal").write_bytes(journal_of_two(path, stranger.outside / "kept"))
    again = [["show"], ["solve", "micro:numbers:2:1"], ["batch", "micro:numbers:2:1"], ["view", "--port", "0"]]
    assert stranger.opened_with(*again)[0] == [2, 2, 2, 2]
    (stranger.folder / "ttsd.sqlite-journal").unlink()


@pytest.mark.slow
def test_a_strangers_database_in_a_browser(stranger: Stranger) -> None:
    before = listed(stranger.outside)
    with serving(stranger.folder) as address:
        for path in ("", "1/run/1", "1/run/1/step/1", "1/run/1/attempt/2", "1/curves", "1/curves.json", "1/run/2"):
            status, text = got(address + path)
            assert status == 200
            assert "[link=http://a.b]" not in text or '<a href="http' not in text
        assert got(f"{address}1/run/1/attempt/1/tokens")[0] == 404  # its tokenizer would run code
        assert got(f"{address}1/run/{10**23}")[0] == 404
    assert not stranger.hit.exists()
    assert listed(stranger.outside) == before


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-P", "-m", "ttsd", "view", "ttsd.sqlite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as view:
        assert view.stdout
        try:
            yield view.stdout.readline().strip()
        finally:
            view.terminate()


def got(address: str) -> tuple[int, str]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=300)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
