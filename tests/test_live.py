"""The views: their numbers, their lines, and that the table can be shown at any moment."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console

from tests.fakes import attempt
from tests.records import run_of
from ttsd.config import Budget, load_config
from ttsd.nouns import History, Status, Step, Verdict
from ttsd.record.protocol import Answer, Past, Spent
from ttsd.reporting.live import PlainOverview, PlainView, RichOverview, RichView, print_table
from ttsd.running.batch import Failure
from ttsd.running.budget import Meter

FAILED = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="no")
PASSED = Verdict(Status.ACCEPTED, 2, 2, 0, 0)


def meter(attempts: int) -> Meter:
    return Meter(Budget(attempts=attempts), Spent(0, 0, 0.0))


def shown(view: RichView | RichOverview, width: int = 100) -> str:
    console = view._console = Console(width=width, stderr=True)
    with console.capture() as captured:
        console.print(view._render())
    return captured.get()


def test_plain_lines_say_what_a_step_did(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.begin(1, run_of("q"), Past(History((attempt(1, "x", FAILED),))), meter(8))
    group = (attempt(2, "x", FAILED), attempt(3, "y", PASSED))
    for one in group:
        view.show(one)
    view.show(Step(2, group, 1, (), {"loss": 0.25}, {"group": 2.0}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run 1: q sdpo seed 3, resumed after 1 attempts and 1 steps"
    assert "step 2 | attempts 3/8 | wrong answer 1, accepted 1 | best 100% of visible cases | loss 0.2500" in lines[1]
    assert lines[1].endswith("discovered at attempt 3")


def test_what_is_left_is_renewed_with_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    view, run = PlainView(), Meter(Budget(attempts=10), Spent(0, 0, 0.0), clock=lambda: now[0])
    panel = RichView()
    for one in (view, panel):
        one.begin(1, run_of("q"), Past(), run)
    for number, second in ((1, 30.0), (2, 600.0)):
        now[0], one_attempt = second, attempt(number, "x", FAILED)
        run.add(one_attempt)
        view.show(one_attempt)
        view.show(Step(number, (one_attempt,), 0, (), {}, {"group": 1.0}))
    first, second_line = (line for line in capsys.readouterr().err.splitlines() if line.startswith("step "))
    assert "| at most 4.5 min, " in first
    assert "| at most 40 min, " in second_line
    assert "\nat most 40 min, " in shown(panel)


def test_the_last_step_says_nothing_of_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    view, run, last = PlainView(), meter(1), attempt(1, "x", FAILED)
    view.begin(1, run_of("q"), Past(), run)
    run.add(last)
    view.show(last)
    view.show(Step(1, (last,), 0, (), {}, {"group": 1.0}))
    assert "left" not in capsys.readouterr().err


def test_an_overview_of_other_machines_runs_says_nothing_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    overview = PlainOverview()
    overview.expect(2)
    overview.end("a", Answer(1, "q", "sdpo", 0, False, 48, None, 6, None))
    assert " left | a | " in (said := capsys.readouterr().err)
    assert "tokens" not in said


def test_an_overview_says_what_all_runs_still_take(capsys: pytest.CaptureFixture[str]) -> None:
    overview = PlainOverview()
    overview.expect(4)
    first, second = (overview.view(name) for name in ("a", "b"))
    for view, made in ((first, 6), (second, 2)):
        run = meter(10)
        view.begin(1, run_of("q"), Past(), run)
        for number in range(1, made + 1):
            run.add(attempt(number, "x", FAILED))
    left = overview.left()
    assert left is not None
    assert left.attempts == 4 * 10 - 8  # nothing ended yet, so all are expected to spend their budgets
    overview.end("a", Failure("q sdpo seed 0", "OSError: gone"))
    left = overview.left()
    assert left is not None
    assert left.attempts == 3 * 6 - 2
    for number in range(3, 9):
        run.add(attempt(number, "x", FAILED))
    left = overview.left()
    assert left is not None
    assert left.attempts == 4 * 6 - 14
    assert " tokens left | a | failed" in capsys.readouterr().err
    overview.end("b", Failure("q sdpo seed 0", "OSError: gone"))
    overview.expect(2)  # of another list
    overview.view("c")
    overview.end("c", Failure("q sdpo seed 0", "OSError: gone"))
    assert "\n1/2 | 0 s | c | failed" in capsys.readouterr().err


def test_an_alarm_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.begin(1, run_of("q"), Past(), meter(100))
    for number in range(1, 9):
        one = attempt(number, "x", FAILED)
        view.show(one)
        view.show(Step(number, (one,), 0, (), {"updated": 0.0}, {"group": 1.0}))
    assert capsys.readouterr().err.count("warning: the last steps had nothing to learn from") == 1


def test_the_table_can_be_shown_before_and_after_anything_happens() -> None:
    view = RichView()
    assert "attempts" in shown(view)
    view.board.begin(1, run_of("my question", config=load_config("micro", ["sampling.group_size=2"])), Past(), meter(4))
    for number in (1, 2):
        view.board.add(attempt(number, "x", FAILED))
    assert "distilling" in shown(view)
    view.board.add(Step(1, (attempt(1, "x", FAILED),), 1, (), {"loss": 0.5}, {"group": 1.0}))
    text = shown(view)
    for said in ("my question", "2/4", "50%", "0.5000", "v1"):
        assert said in text


def test_a_table_shows_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    overview = RichOverview()
    overview.expect(2)
    view = overview.view("q sdpo seed 0")
    view.begin(1, run_of("q"), Past(), meter(8))
    group = (attempt(1, "x", FAILED), attempt(2, "y", PASSED))
    for one in group:
        view.show(one)
    view.show(Step(1, group, 1, (), {"loss": 0.25}, {"group": 2.0}))
    text = shown(overview)
    for said in ("q sdpo seed 0", "2/8", "100%", "discovery", "0.2500", "tokens/s", "0 of 2 runs ended"):
        assert said in text


def test_an_overview_counts_what_ends(capsys: pytest.CaptureFixture[str]) -> None:
    overview = PlainOverview()
    overview.view("q sdpo seed 0")
    overview.end("q sdpo seed 0", Failure("q sdpo seed 0", "OSError: gone"))
    assert capsys.readouterr().err.endswith("| q sdpo seed 0 | failed: OSError: gone\n")
    table = RichOverview()
    table.view("q sdpo seed 1").begin(1, run_of("q"), Past(), meter(8))
    assert "q sdpo seed 1" in shown(table)


def table_on_a_terminal(rows: list[dict[str, object]], width: int, options: str) -> list[str]:
    """The lines of a table on a terminal of that width, without colours."""
    command = f"from ttsd.reporting.live import print_table; import sys; print_table(eval(sys.argv[1]), {options})"
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {**os.environ, "COLUMNS": str(width)}
    subprocess.run([sys.executable, "-c", command, repr(rows)], stdout=terminal, check=True, env=environment)
    os.close(terminal)
    return re.sub(r"\x1b\[[\d;]*m", "", os.read(reader, 1 << 16).decode()).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_fits_the_terminal_and_never_cuts_a_number(width: int) -> None:
    rows = [{"run": 12345678, "question": "micro:lists:6:61" * 3, "model": "m" * 30, "feedback": "Expected: 21 " * 7}]
    heading, row = table_on_a_terminal(rows, width, "less=('model',)")
    assert max(len(heading), len(row)) <= width
    assert "12345678" in row
    assert ("model" in heading) == (width == 200)
    assert "question" in heading
    assert ("…" in row) == (width < 200)


def test_a_text_that_must_be_whole_goes_on_in_the_next_line() -> None:
    detail = "trainer 10.0 GiB, sampler 0.7 GiB, of 9.5 GiB of free memory; this DOES NOT FIT"
    heading, *lines = table_on_a_terminal([{"what": "memory", "detail": detail}], 40, "whole=('detail',)")
    assert max(map(len, [heading, *lines])) <= 40
    assert " ".join(" ".join(lines).split()) == f"memory {detail}"


def test_a_resumed_run_shows_the_totals_of_the_run() -> None:
    view = RichView()
    past = Past(History((attempt(1, "x", FAILED), attempt(2, "x", FAILED))), begun=(attempt(3, "y", PASSED),))
    view.board.begin(1, run_of("q"), past, meter(8))
    assert "3/8" in shown(view)
    assert view.board.best_fraction == 1.0


@pytest.mark.parametrize(("verdict", "said"), [(FAILED, "budget spent"), (PASSED, "discovered")])
def test_the_table_ends_in_its_final_state(verdict: Verdict, said: str) -> None:
    view = RichView()
    with view:
        view.begin(1, run_of("q"), Past(), meter(1))
        one = attempt(1, "x", verdict)
        view.show(one)
        view.show(Step(1, (one,), 0, (), {}, {"group": 1.0}))
    assert re.search(rf"1/1 .* {said} ", shown(view))
    assert "left" not in shown(view)


def test_tables_of_nothing_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([])
    assert "nothing yet" in capsys.readouterr().out


def test_a_narrow_overview_leaves_columns_out() -> None:
    overview = RichOverview()
    overview.view("micro:numbers:5:7 sdpo seed 0").begin(1, run_of("q"), Past(), meter(512))
    narrow, wide = shown(overview, width=60), shown(overview, width=120)
    assert max(map(len, narrow.splitlines())) <= 60
    assert "0/512" in narrow
    assert "adapter" not in narrow
    assert "adapter" in wide


@pytest.mark.parametrize(("term", "renews"), [("dumb", False), ("xterm", True)])
def test_a_dumb_terminal_gets_lines(term: str, renews: bool) -> None:
    look = "from ttsd.reporting.live import view_for_stderr; print(type(view_for_stderr()).__name__)"
    assert said_in_terminal([sys.executable, "-c", look], TERM=term) == ("RichView" if renews else "PlainView")


@pytest.mark.slow
def test_no_color_is_honoured() -> None:
    look = (
        "import time; from tests.records import run_of; from ttsd.config import Budget\n"
        "from ttsd.record.protocol import Past, Spent; from ttsd.reporting.live import RichView\n"
        "from ttsd.running.budget import Meter\n"
        "meter = Meter(Budget(attempts=4), Spent(0, 0, 0.0))\n"
        "with RichView() as view: view.begin(1, run_of('q'), Past(), meter); time.sleep(0.3)"
    )
    command = [sys.executable, "-c", look]
    coloured, plain = terminal(command, TERM="xterm-256color"), terminal(command, TERM="xterm-256color", NO_COLOR="1")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", coloured)
    assert not re.search(r"\x1b\[(3[0-7]|38;)", plain)


def said_in_terminal(command: list[str], **environment: str) -> str:
    """What a command prints on stdout while its stderr is a terminal."""
    master, slave = pty.openpty()
    try:
        ended = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
    finally:
        os.close(slave)
        os.close(master)
    return ended.stdout.strip()


def terminal(command: list[str], **environment: str) -> str:
    """What a command writes to a terminal on stderr."""
    master, slave = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | environment
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave, env=env)
    os.close(slave)
    written = b""
    try:
        while chunk := os.read(master, 4096):
            written += chunk
    except OSError:  # the terminal's other end is closed
        pass
    finally:
        os.close(master)
        process.wait()
    return written.decode()
