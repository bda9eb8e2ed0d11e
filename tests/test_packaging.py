"""The distributions: built from what is tracked, complete, and at work far from the source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.commands import ROOT

PACKAGES = ("ttsd", "problems", "sandbox", "configs")
BUILD = "import sys; from setuptools import build_meta as b; to = sys.argv[1]; b.build_wheel(to); b.build_sdist(to)"


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout, so what belongs to it can't be listed")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, built from a copy of what is tracked."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, str(out)], cwd=source, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return out


TORCH = ("torch", "torch-*.dist-info", "torchgen", "functorch")  # one of the few that have no package index in common


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, and nothing else of the one that the tests run in.

    Only torch is the tests' own, because where its CPU build is found differs from machine to machine.
    """
    folder, libraries = tmp_path_factory.mktemp("environment"), Path(sysconfig.get_path("purelib"))
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    none = folder / "none.txt"  # uv would write through a link, and replace the torch that it leads to
    none.write_text("torch; sys_platform == 'never'\n")
    install(folder, built, "*.whl", "--constraint", str(ROOT / "requirements.lock"), "--override", str(none))
    for place in (place for name in TORCH for place in libraries.glob(name)):
        (site / place.name).symlink_to(place)
    return folder


@pytest.fixture(params=["*.whl", "*.tar.gz"])
def installed(environment: Path, built: Path, request: pytest.FixtureRequest) -> Path:
    """The environment with a distribution. The source's requires what the wheel's does, so it only takes its place."""
    install(environment, built, request.param, "--no-deps", "--reinstall")
    return environment


def install(environment: Path, built: Path, pattern: str, *options: str) -> None:
    (file,) = built.glob(pattern)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
    ended = subprocess.run(
        [*command, *options, str(file)], cwd=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def requirements(metadata: bytes) -> list[str]:
    """Returns what a distribution requires."""
    return sorted(line for line in metadata.decode().splitlines() if line.startswith("Requires-"))


def ttsd(environment: Path, *arguments: str, cwd: Path, statuses: tuple[int, ...] = (0,)) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [environment / "bin" / "ttsd", *arguments],
        cwd=cwd, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode in statuses, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages(built: Path) -> None:
    wanted = {name for name in tracked() if name.split("/")[0] in PACKAGES}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert wanted - set(wheel.namelist()) == set()
        required = requirements(wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))))
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
        (metadata,) = (
            source.extractfile(name) for name in source.getnames() if name.count("/") == 1 and "PKG-INFO" in name
        )
        assert metadata is not None
        assert requirements(metadata.read()) == required != []
    assert (wanted | {"README.md", "LICENSE", "pyproject.toml"}) - names == set()


@pytest.mark.slow
def test_it_works_alone_from_another_folder(installed: Path, tmp_path: Path) -> None:
    place = subprocess.run(
        [installed / "bin" / "python", "-c", "import ttsd, problems, sandbox, configs; print(ttsd.__file__)"],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert place.startswith(str(installed))
    assert ttsd(installed, "--version", cwd=tmp_path).startswith("ttsd ")
    assert "micro-hard" in ttsd(installed, "problems", "list", cwd=tmp_path)
    assert "[budget]" in ttsd(installed, "config", "show", "-c", "micro", cwd=tmp_path)
    assert ttsd(installed, "demo", cwd=tmp_path).startswith("def f(")
    ttsd(installed, "report", "page", cwd=tmp_path)
    assert (tmp_path / "page" / "report.html").is_file()
