"""`ttsd view`: a page on this machine that follows the record while runs go on. The door to starlette and uvicorn.

It answers on the loopback address only, under a secret that is part of every address, and only to GET. It reads the
databases that it was started with and its own templates; there is no way to name a file, and nothing is written.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from ttsd.errors import UserError
from ttsd.reporting.view.records import Records, opened

HOST = "127.0.0.1"


def serve(
    databases: Sequence[tuple[Path, Path | None]], *, port: int, ready: Callable[[str], None], model: str
) -> None:
    """Serves until Ctrl-C. `databases`: each with its folder of states, if that is elsewhere; `ready` gets the address.

    `model`: whose tokenizer may be loaded, besides the bundled one.

    UserError: a database that is not there, or a port that is taken.
    """
    import uvicorn

    from ttsd.reporting.view.app import build_app

    records, secret = opened(databases), secrets.token_urlsafe(16)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # who opens the address at once waits for the first answer
        except OSError:
            raise UserError(f"--port {port} is taken on this machine; choose another, or 0 for any") from None
        with Records(records, model) as found:
            config = uvicorn.Config(
                build_app(found, secret),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
                http="h11",  # it ends a connection whose address or header has no end
            )
            ready(f"http://{HOST}:{listening.getsockname()[1]}/{secret}/")
            uvicorn.Server(config).run([listening])
