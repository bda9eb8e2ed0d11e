"""Qwen3-8B's true shape on a GPU, rehearsed: no tensor is on the wrong device, and memory is what the plan says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from tests.commands import ROOT
from tests.gpu_rehearsal import COMPLETION, GROUP, LAYERS, NAME, PROMPT, decoding, settings
from ttsd.config import Config
from ttsd.machine.gpus import machine_named
from ttsd.machine.memory import memory_of
from ttsd.machine.shape import KNOWN, Shape

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process counted that has a CUDA device which does nothing."""
    library, torch_root = tmp_path_factory.mktemp("gpu") / "no_gpu.so", Path(torch.__file__).parent
    includes, libraries = torch_root / "include", torch_root / "lib"
    flags = ["-shared", "-fPIC", "-std=c++20", f"-I{includes}", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    source = Path(__file__).with_name("no_gpu.cpp")
    subprocess.run(["g++", *flags, str(source), "-o", str(library), "-lc10", "-ltorch_cpu"], check=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-m", "tests.gpu_rehearsal", str(library)],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def planned(what: str, config: Config) -> dict[str, float]:
    """Bytes of each part that has tensors."""
    shape = Shape.read({**KNOWN[NAME], "num_hidden_layers": LAYERS[what]})
    memory = memory_of(config, shape, machine_named("h100-80").used_by(config.model), questions=1)
    return {f"{part.where} {part.what}": part.bytes for part in memory.parts if part.what != "process"}


@pytest.mark.parametrize(("what", "checkpointing"), [("step", False), ("checkpointed", True)])
def test_a_step_takes_the_memory_that_is_planned(found: Any, what: str, checkpointing: bool) -> None:
    plan = planned(what, settings(checkpointing))
    trainer = sum(size for part, size in plan.items() if part.startswith("trainer"))
    assert found["peaks"][what] == pytest.approx(trainer, rel=0.15)


def test_decoding_takes_the_memory_that_is_planned(found: Any) -> None:
    """Also without the weights, which are most of it. Nothing is learned, so the trainer has but an adapter."""
    plan = planned("decoded", decoding())
    adapter = plan["trainer adapters and optimizer"] / 5  # without gradient, moments and teacher
    weights = plan["trainer base weights"]
    sampler = sum(size for part, size in plan.items() if part.startswith("sampler"))
    assert found["peaks"]["decoded"] - weights == pytest.approx(sampler + adapter, rel=0.15)


def test_a_step_takes_the_operations_of_its_products(found: Any) -> None:
    """4 N a token of the student, whose frozen weights need no gradient (6 N with one), and 2 N of the teacher."""
    shape = Shape.read({**KNOWN[NAME], "num_hidden_layers": LAYERS["counted"]})
    student, teacher = PROMPT + GROUP * COMPLETION, GROUP * (2 * PROMPT + COMPLETION)
    layers = (4 * student + 2 * teacher + 2 * student) * shape.linear  # the last: the distance to the base
    head = 4 * 2 * GROUP * COMPLETION * shape.embedding / 2
    own, above = 2 * PROMPT + COMPLETION, PROMPT + COMPLETION
    seen = PROMPT**2 + GROUP * COMPLETION * above
    attention = 4 * shape.layers * shape.queries * (4.5 * seen + GROUP * own**2)
    assert found["flops"] == pytest.approx(layers + head + attention, rel=0.1)
