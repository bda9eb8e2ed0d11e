"""The tree of errors, caught in one place (the CLI). A bad attempt is data (a Verdict), never one of these.

TtsdError
├── UserError            exit 2: one sentence with the offending value and the remedy
└── InfrastructureError  exit 3: a machine, a library or a file let us down; neither a pass nor a failure
"""

from __future__ import annotations


class TtsdError(Exception):
    """Everything that `ttsd` raises on purpose."""


class UserError(TtsdError, ValueError):
    """The user's mistake."""


class InfrastructureError(TtsdError, RuntimeError):
    """Our fault or the machine's."""


class Stopped(BaseException):
    """SIGINT or SIGTERM asked us to stop. As a fault of nobody it is no Exception."""
