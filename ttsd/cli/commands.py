"""All commands, as one application."""

from __future__ import annotations

import typer

from ttsd.cli import config, looking, machine, measuring, questions, running
from ttsd.cli.start import Commands, global_options

app = typer.Typer(
    cls=Commands,
    callback=global_options,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    help="Trains a language model on ONE hard coding question, at test time, until it solves it.",
)
for command in (
    running.demo,
    running.solve,
    running.batch,
    running.judge,
    looking.show,
    looking.report,
    looking.view,
    looking.export,
    looking.delete,
    config.methods,
    machine.doctor,
    measuring.probe,
    measuring.warm_up,
):
    app.command()(command)
app.add_typer(questions.app, name="problems")
app.add_typer(config.app, name="config")
