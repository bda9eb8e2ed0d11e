"""The command that opens a page on the record: view."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ttsd.cli.options import ConfigOption, SetOption, expand, settings_of


def view(
    database: Annotated[
        list[Path] | None,
        typer.Argument(help="Databases; default: that of the settings.", metavar="[FILE.sqlite]...", callback=expand),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = 0,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Follow the record in a browser while runs go on: runs, live curves, steps, attempts with what was read.

    Prints an address on this machine that holds a secret; without the secret nothing is shown, and nobody can write.
    From another machine: `ssh -L PORT:127.0.0.1:PORT`. Ctrl-C ends it.
    """
    from ttsd.reporting.view import serve

    settings = settings_of(config, set_)
    store = settings.store
    chosen = [(path, None) for path in database or []]
    usual = [(Path(store.path), Path(store.state_dir) if store.state_dir else None)]
    serve(chosen or usual, port=port, ready=_announce, model=settings.model.path)


def _announce(address: str) -> None:
    print(address, flush=True)
    print("open this address in a browser on this machine; Ctrl-C ends it", file=sys.stderr)
