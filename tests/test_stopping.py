"""A request to stop, to the process or its whole group, in any phase: one sentence, 130 or 143, and resumable.

`python -m tests.bench.scene stop` does the same 30 times and with vLLM.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.scene import scenes, stop

ROOT = Path(__file__).parents[1]


def stopped(code: str, number: int, *, times: int = 1) -> tuple[int, str]:
    """Exit status and stderr of a program that runs `code` and is sent a signal whenever it says so."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(times):
        assert process.stdout.readline() == "now\n"
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_anything_began_it_ends(number: signal.Signals) -> None:
    code = "from ttsd.cli.stopping import stop_requests as s\ns.listen()\nprint('now', flush=True)\nwhile True: pass"
    assert stopped(code, number) == (128 + number, "ttsd: stopped\n")


COMMAND = """
import sys, time
sys.argv = ["ttsd", "wait"]
from ttsd import cli
from ttsd.cli import commands
from ttsd.cli.options import run
@commands.app.command()
def wait():
{body}
cli.main()
"""


def command(body: str) -> str:
    return COMMAND.format(body="\n".join("    " + line for line in body.strip().splitlines()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_plain_code_is_interrupted_and_cleans_up(number: signal.Signals) -> None:
    body = """
try:
    print("now", flush=True)
    while True: pass
finally:
    print("tidy", file=sys.stderr)
"""
    assert stopped(command(body), number) == (128 + number, "tidy\nttsd: stopped\n")


ASYNC = """
import asyncio
async def work():
    try:
        print("now", flush=True)
        await asyncio.sleep(60)
    finally:
        {ending}
run(work(), afterwards="resume it")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asynchronous_work_is_cancelled_and_cleans_up(number: signal.Signals) -> None:
    ending = "await asyncio.sleep(0.1); print('tidy', file=sys.stderr)"
    said = stopped(command(ASYNC.format(ending=ending)), number)
    assert said == (128 + number, "tidy\nttsd: stopped; resume it\n")


def test_whatever_fails_after_a_request_is_its_consequence() -> None:
    status, said = stopped(command(ASYNC.format(ending="raise OSError('the sandbox is gone')")), signal.SIGTERM)
    assert (status, said) == (143, "ttsd: stopped; resume it\n")


def test_the_second_signal_ends_at_once() -> None:
    ending = "print('now', flush=True); await asyncio.sleep(60)"
    assert stopped(command(ASYNC.format(ending=ending)), signal.SIGTERM, times=2) == (143, "ttsd: stopped\n")


def test_who_asked_for_a_stop_waits_for_no_tidying_up_of_python() -> None:
    ending = "import atexit; atexit.register(print, 'late', file=sys.stderr)"
    assert stopped(command(ASYNC.format(ending=ending)), signal.SIGTERM) == (143, "ttsd: stopped; resume it\n")


PROBE = """
import asyncio, os
from ttsd.config import load_config
from ttsd.running.probe import probe
from ttsd.reporting.live import PlainOverview
from ttsd.sampling.background import unfinished
class Impatient(PlainOverview):
    def expect(self, runs):
        asyncio.current_task().cancel()
async def main():
    config = load_config("micro", ["store.path={database}"])
    await probe(["micro:numbers:2:3"], config, samples=8, feedback_samples=0, runs_at_once=1,
                overview=Impatient())
try:
    asyncio.run(main())
except asyncio.CancelledError:
    print(unfinished(), flush=True)
    os._exit(0)
"""


def test_a_probe_that_is_to_stop_does_not_wait_for_its_tokenizer(tmp_path: Path) -> None:
    code = PROBE.format(database=tmp_path / "t.sqlite")
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"


@pytest.mark.slow
def test_a_stopped_demo_names_the_command_that_resumes_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    demo = [sys.executable, "-m", "ttsd", "demo"]
    with subprocess.Popen(demo, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("step 1 "))
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    named = re.search("`ttsd (.*)` resumes", said)
    assert named, said
    again = [*demo[:-1], *shlex.split(named[1]), "--budget", "8"]  # which are spent already
    resumed = subprocess.run(again, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "run 1 " in resumed.stderr


def test_a_signal_while_the_interpreter_is_torn_down_changes_nothing() -> None:
    code = """
import os
from ttsd.cli.stopping import stop_requests
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 15)
stop_requests.listen()
stop_requests.finish()
late = Late()
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2], ids=["solve", "batch", "probe"])
def test_a_stopped_command_resumes(tmp_path: Path, which: int) -> None:
    scene = scenes(tmp_path, "transformers", 64 if which == 2 else 12)[which]
    stop(scene, "loading")
    stop(scene, "sampling" if which == 2 else "learning")
    scene.finish()
    budgets = [budget for (budget,) in scene.rows("select json_extract(config, '$.budget.attempts') from runs")]
    assert len(scene.attempts) == sum(budgets)
