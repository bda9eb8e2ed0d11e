"""What reaches a terminal: nothing that steers it, whoever wrote the text and whichever call prints it."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from tests.commands import ROOT, ttsd
from tests.records import run_of
from tests.strangers import HOSTILE, received
from ttsd.cli.completion import question_names
from ttsd.nouns import History
from ttsd.record.protocol import Past, Spent
from ttsd.record.store import Store
from ttsd.reporting.live import RichOverview, print_table
from ttsd.running.budget import Meter
from ttsd.terminal import CleanStream, json_text, keep_streams_clean, one_line, print_answer, readable, unwrapped


def test_readable_text_holds_no_sign_without_a_look() -> None:
    assert readable("a\x1b[2J\x9b\r\n\tb\u202e\u2066\ud800é") == "a\ufffd[2J\ufffd\n\tb\ufffd\ufffd\ufffdé"
    steer = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    assert [sign for sign in every if unicodedata.category(sign) in steer and sign in readable(sign)] == ["\t", "\n"]
    kept = "héllo → 日本語 ❤\ufe0f ∑ 𝔘 é 😀 \u0301"
    assert readable(kept) == kept


def test_a_title_is_one_line() -> None:
    assert one_line("Sum\n\x1b[2Jttsd:  accepted\r\n") == "Sum \ufffd[2Jttsd: accepted"


def test_json_is_printable_and_means_the_same() -> None:
    value = {"".join(HOSTILE): ["".join(HOSTILE), "é\n"]}
    text = json_text(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


def test_a_locale_that_lacks_a_sign_ends_nothing_and_programs_are_utf_8() -> None:
    for write, expected in ((print, b"\\u2192 \xe9\n"), (print_answer, "\u2192 é\n".encode())):
        written = io.BytesIO()
        with redirect_stdout(io.TextIOWrapper(written, encoding="latin-1")):
            keep_streams_clean()
            write("\u2192 é")
            sys.stdout.flush()
            assert written.getvalue() == expected


def test_a_stream_cleans_whatever_is_printed() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        keep_streams_clean()
        keep_streams_clean()
        print(*HOSTILE)
        sys.stdout.writelines(HOSTILE)
        logging.StreamHandler(sys.stderr).emit(logging.makeLogRecord({"msg": "".join(HOSTILE)}))
        sys.stderr.write("\rloading:  10%")
        assert unwrapped(sys.stdout) is out
    for text in (out.getvalue(), err.getvalue().replace("\rloading", "loading")):
        assert readable(text) == text
    assert err.getvalue().endswith("\rloading:  10%")


def test_a_program_goes_as_it_is_into_a_pipe_and_readable_to_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    program = "print('\x1b[2J')"
    for stream, expected in ((io.StringIO(), program), (Terminal(), readable(program))):
        with redirect_stdout(stream):
            keep_streams_clean()
            assert isinstance(sys.stdout, CleanStream)
            print_answer(program)
        assert stream.getvalue() == f"{expected}\n"


def test_tables_and_panels_show_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]q[/bold] [link=http://a.b]x[/link] :smile: " + "".join(HOSTILE)
    print_table([{"question": name}])
    overview = RichOverview()
    overview.expect(1)
    run = run_of(name)
    overview.view(str(run)).begin(1, run, Past(History()), Meter(run.config.budget, Spent(0, 0, 0.0)))
    console = Console(width=400, force_terminal=True, color_system="truecolor", file=io.StringIO())
    with console.capture() as captured:
        console.print(overview._render())
    for text in (capsys.readouterr().out, captured.get()):
        assert "[bold]q[/bold] [link=http://a.b]x[/link] :smile:" in text
        assert not [bad for bad in HOSTILE if bad in text]


LIVE = f"""
import sys
from ttsd.reporting.live import RichOverview
from ttsd.terminal import keep_streams_clean
keep_streams_clean()
with RichOverview() as overview:
    print("hostile: " + {"".join(HOSTILE)!r}, file=sys.stderr)
    print("hostile: " + {"".join(HOSTILE)!r})
    overview.say("said: " + {"".join(HOSTILE)!r})
print("after: " + {"".join(HOSTILE)!r})
"""


@pytest.mark.slow
def test_what_is_printed_under_a_live_view_is_clean() -> None:
    text = on_terminal([sys.executable, "-c", LIVE], cwd=ROOT)
    assert text.count("hostile: ") == 2
    assert "said: " in text
    assert "after: " in text
    assert not [bad for bad in HOSTILE if bad in text]


def on_terminal(command: list[str], cwd: Path) -> str:
    """What a terminal of its own receives from `command`, on stdout and on stderr."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        found = b"".join(received(ours))
    os.close(ours)
    return found.decode(errors="replace")


@pytest.mark.slow
def test_an_error_with_a_hostile_name_is_one_line(tmp_path: Path) -> None:
    name = "q\nttsd: accepted" + "".join(HOSTILE[:-1])
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question_id": name, "question_title": "t"}) + "\n")
    for command in (["problems", "check", "rows.jsonl"], ["solve", f"rows.jsonl#{name}"], ["show", "--html", name]):
        ended = ttsd(*command, cwd=tmp_path)
        lines = (ended.stdout + ended.stderr).splitlines()
        assert ended.returncode == 2
        assert len(lines) == 1
        assert readable(lines[0]) == lines[0]


def test_shells_are_given_no_names_that_they_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = ("x\\$(touch hit)", "x`touch hit`", "x'; touch hit; '", 'x"y', "x\ny", "x y", "x\x1b[2J", "-x", "x*")
    with Store("ttsd.sqlite") as store:
        for name in (*hostile, "x/plain:1"):
            store.new_run(run_of(name), {})
    assert question_names("x") + question_names("-") == ["x/plain:1"]


@pytest.mark.slow
def test_every_command_names_a_configuration_without_sandbox(tmp_path: Path) -> None:
    (tmp_path / "quiet.toml").write_text("[judge]\nunsafe_no_sandbox = true\n")
    Store(tmp_path / "ttsd.sqlite").close()
    for command in (["show"], ["config", "show"], ["problems", "check", "micro:numbers:2:1"], ["export", "1", "x"]):
        said = ttsd(*command, "--config", "quiet.toml", cwd=tmp_path).stderr.splitlines()[0]
        assert said == "warning: quiet.toml switches the sandbox off: programs of the model run with all your rights"
    assert "switches the sandbox off" not in ttsd("show", cwd=tmp_path).stderr
