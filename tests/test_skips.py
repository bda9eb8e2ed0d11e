"""No test skips in silence where all that it needs can be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.skips import listed

TESTS = """
import pytest
def test_one(): pass
def test_two(): pytest.skip({reason!r})
@pytest.mark.xfail
def test_three(): assert False
"""
MODULE = 'import pytest\npytest.skip("a module needs what nobody has", allow_module_level=True)\n'


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_a_skip_that_is_not_listed_fails_the_tests(workers: list[str], tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-c", "/dev/null", *workers, str(tmp_path)]

    def ended() -> tuple[int, str]:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    file.write_text(TESTS.format(reason=f"{listed()[0]} ..."))
    assert ended()[0] == 0
    file.write_text(TESTS.format(reason="nobody installed it"))
    status, said = ended()
    assert status == 1
    assert "does not list: " in said
    assert "test_two: nobody installed it" in said
    file.write_text(MODULE)
    (tmp_path / "test_more.py").write_text("def test_one(): pass\n")
    status, said = ended()
    assert status == 1
    assert "a module needs what nobody has" in said
