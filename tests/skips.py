"""A plugin that fails the tests if one of them skips for a reason that CONTRIBUTING.md does not list.

python -m pytest -p tests.skips
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LIST = Path(__file__).parents[1] / "CONTRIBUTING.md"
_found: set[str] = set()


def listed() -> list[str]:
    """Returns how the reasons begin for which a test may skip."""
    section = LIST.read_text("utf-8").partition("## What may skip\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.+?)`", section, re.M)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple | list):  # an expected failure has no such triple
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(tuple(listed())):
            _found.add(f"{report.nodeid}: {reason}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _found and session.exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in sorted(_found):
        terminalreporter.write_line(f"skipped for a reason that {LIST.name} does not list: {line}", red=True)
