"""The tree of errors, caught in one place (the CLI). A bad attempt is data (a Verdict), never one of these.

TtsdError
├── UserError            exit 2: one sentence with the offending value and the remedy
│   └── RunHeld          another process works on the run
└── InfrastructureError  exit 3: a machine, a library or a file failed; neither a pass nor a failure
"""

from __future__ import annotations


class TtsdError(Exception):
    """Covers everything that `ttsd` raises on purpose."""


class UserError(TtsdError, ValueError):
    """Reports the user's mistake."""


class RunHeld(UserError):
    """Reports that another process works on the run."""


class InfrastructureError(TtsdError, RuntimeError):
    """Reports our fault or the machine's."""


class Stopped(BaseException):
    """Reports a request to stop (SIGINT or SIGTERM). Not an Exception: a stop is not an error."""
