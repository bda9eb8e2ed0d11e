"""The command line: `ttsd COMMAND`. Answers go to stdout, talk goes to stderr. The door to typer.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer

from ttsd.cli import config, evidence, looking, machine, micro, probe, questions, running
from ttsd.cli.options import INFRASTRUCTURE, INTERRUPTED, USER_ERROR
from ttsd.errors import Interrupted, TtsdError, UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    help="Trains a language model on ONE hard coding question, at test time, until it solves it.",
)
for command in (
    running.solve,
    running.batch,
    running.judge,
    evidence.evidence,
    looking.show,
    looking.report,
    looking.export,
    machine.doctor,
    probe.probe,
):
    app.command()(command)
app.add_typer(questions.app, name="problems")
app.add_typer(micro.micro_app, name="micro")
app.add_typer(config.app, name="config")


def main() -> None:
    """Runs a command and turns what goes wrong into one sentence and an exit status."""
    from problems.problem import ProblemError
    from sandbox.interface import SandboxFault

    try:
        app()
    except (UserError, ProblemError) as error:
        _end(error, USER_ERROR)
    except Interrupted as error:
        _end(error, INTERRUPTED)
    except (TtsdError, SandboxFault) as error:
        _end(error, INFRASTRUCTURE)
    except Exception as error:
        if os.environ.get("TTSD_TRACEBACK"):
            raise
        _end(TtsdError(f"{type(error).__name__}: {error}; TTSD_TRACEBACK=1 shows where"), INFRASTRUCTURE)


def _end(error: Exception, status: int) -> None:
    from ttsd.judging.feedback import readable
    from ttsd.sampling.loading import unfinished

    print(f"ttsd: {readable(str(error))}", file=sys.stderr)
    if unfinished():
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
