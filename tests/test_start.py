"""What comes before every command: the version, the log, packages that clash, options that are settings."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.commands import ROOT, refused, ttsd
from ttsd.cli.start import global_options


def test_the_version_names_the_commit_that_is_checked_out() -> None:
    ended = ttsd("--version")
    assert ended.returncode == 0
    assert re.fullmatch(r"ttsd \d+\.\d+\.\d+( \(commit [0-9a-f]{10}(-dirty)?\))?\n", ended.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["solve", "micro:numbers:2:1", "--attempts", "5"], "--set budget.attempts=VALUE"),
        (["batch", "micro-hard", "--max-tokens=5"], "--set sampling.max_tokens=VALUE"),
        (["--log", "/nonexistent/log", "show"], "'/nonexistent/log' (No such file or directory)"),
    ],
)
def test_mistakes_before_a_command_are_one_sentence(arguments: list[str], said: str) -> None:
    assert said in refused(ttsd(*arguments))


def test_an_unknown_option_that_is_no_setting_is_typers_business() -> None:
    ended = ttsd("solve", "micro:numbers:2:1", "--sead", "5")
    assert ended.returncode == 2
    assert "No such option: --sead" in ended.stderr


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_wait_leave_the_cores_to_others_soon(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    global_options()
    found = {name: os.environ[name] for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in os.environ}
    assert found == (own or {"GOMP_SPINCOUNT": "5000"})


@pytest.mark.parametrize("name", ["problems", "sandbox", "configs"])
def test_another_package_of_one_of_our_names_is_found_before_it_is_used(name: str, tmp_path: Path) -> None:
    other = tmp_path / "packages" / name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    said = refused(ttsd("show", cwd=tmp_path, PYTHONPATH=f"{other.parent}{os.pathsep}{ROOT}"))
    assert f"the package {name!r} that Python finds is not ttsd's ({other / '__init__.py'})" in said


def test_a_log_has_the_command_the_version_and_where_an_error_arose(tmp_path: Path) -> None:
    said = refused(ttsd("--log", "run.log", "solve", "nowhere", cwd=tmp_path))
    log = (tmp_path / "run.log").read_text()
    assert "'solve', 'nowhere'" in log
    assert "Traceback" in log
    assert said.removeprefix("ttsd: ") in log


@pytest.mark.slow
def test_a_bug_report_has_versions_and_no_secrets(tmp_path: Path) -> None:
    ended = ttsd("doctor", "--report", "--set", f"model.path={tmp_path}", HOME=str(tmp_path), HF_TOKEN="hf_secret")
    assert ended.returncode == 0, ended.stderr
    assert f"- ttsd {ttsd('--version').stdout.split()[1]}" in ended.stdout
    assert "| seccomp" in ended.stdout or "sandbox" in ended.stdout
    assert "- model.path = '~'" in ended.stdout
    assert "hf_secret" not in ended.stdout
    assert str(tmp_path) not in ended.stdout
