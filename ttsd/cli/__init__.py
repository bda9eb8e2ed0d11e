"""The command line: `ttsd COMMAND`. Answers go to stdout, talk goes to stderr. The door to typer.

Nothing heavy is imported before a command needs it, so that `--help` answers at once; and hardly anything before a
signal is heard.
"""

from __future__ import annotations

import os
import sys

from ttsd.cli.stopping import stop_requests
from ttsd.errors import Stopped, TtsdError, UserError
from ttsd.search_path import leave_working_directory_out
from ttsd.terminal import keep_streams_clean, one_line, say


def main() -> None:
    """Runs a command and turns what goes wrong into one sentence and an exit status."""
    stop_requests.listen()
    leave_working_directory_out()
    keep_streams_clean()
    from ttsd.cli.commands import app

    stop_requests.begin()
    try:
        app()
    except (Exception, Stopped) as error:
        if os.environ.get("TTSD_TRACEBACK"):
            raise
        _end(*_ending(error))
    finally:
        stop_requests.finish()


def _ending(error: BaseException) -> tuple[str, int]:
    """Returns what to say, and the exit status."""
    from problems.problem import ProblemError
    from sandbox.interface import SandboxFault
    from ttsd.cli.options import INFRASTRUCTURE, USER_ERROR

    if stop_requests.received is not None:
        return str(error) if isinstance(error, Stopped) else "stopped", stop_requests.status
    if isinstance(error, UserError | ProblemError):
        return str(error), USER_ERROR
    if isinstance(error, TtsdError | SandboxFault):
        return str(error), INFRASTRUCTURE
    return f"{type(error).__name__}: {error}; TTSD_TRACEBACK=1 shows where", INFRASTRUCTURE


def _end(sentence: str, status: int) -> None:
    from ttsd.sampling.background import unfinished

    say(f"ttsd: {one_line(sentence)}")
    if unfinished() or stop_requests.received is not None:  # a stop does not wait for Python's tidying up
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
