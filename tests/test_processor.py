"""Which precision `auto` stands for, and how many cores compute."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: TID253

from ttsd.backbone import cpu_threads, processor, resolved_dtype
from ttsd.backbone.base import _placement
from ttsd.config import Config, load_config
from ttsd.errors import UserError


def as_if(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")],
)
def test_auto_is_bfloat16_where_the_processor_computes_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    as_if(monkeypatch, **capabilities)
    assert resolved_dtype("auto", "cpu") == expected
    assert resolved_dtype("float16", "cpu") == "float16"


def test_the_bundled_model_stays_in_float32() -> None:
    """It is too small to gain speed, and its steps are large. Its own configuration says so, whoever names it."""
    assert {load_config(*named).model.dtype for named in ([], ["micro"], [None, ["model.path=micro"]])} == {"float32"}


def test_this_processors_capabilities_can_be_asked_for() -> None:
    assert processor.cpu_computes_bfloat16() in (True, False)


def test_memory_of_freed_tensors_is_kept_for_the_next_until_it_is_returned() -> None:
    """In a process of its own: 20 large tensors, one at a time, are made of the pages of the first, or nearly so."""
    script = """if True:
        import re, resource, torch
        from ttsd.backbone import processor

        def pages():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        def resident():
            return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

        def cleared():
            before = pages()
            for _ in range(20):
                torch.zeros(16 << 20).sum().item()
            return pages() - before

        given_back = cleared()
        processor.keep_freed_memory()
        cleared()
        kept, before = cleared(), resident()
        processor.return_freed_memory()
        print(given_back, kept, before - resident())
    """
    given_back, kept, returned = map(int, subprocess.check_output([sys.executable, "-c", script], text=True).split())
    assert kept < given_back / 4  # a small object may land in the free room: the next tensor then takes new pages, once
    assert returned > 60  # MiB, of a tensor's 64


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has heaps for threads")
def test_threads_in_the_background_share_one_heap() -> None:
    """In a process of its own: glibc's own account of its heaps, while two threads hold memory."""
    script = (
        "import ctypes, threading; from ttsd.sampling.background import in_background\n"
        "libc, met = ctypes.CDLL(None), threading.Barrier(2)\n"
        "libc.malloc.restype, libc.stdout = ctypes.c_void_p, ctypes.c_void_p.in_dll(libc, 'stdout')\n"
        "def work(): libc.malloc(1000); met.wait()\n"
        "for done in [in_background(work), in_background(work)]: done.result()\n"
        "libc.malloc_info(0, libc.stdout); libc.fflush(libc.stdout)"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).count("<heap nr=") == 1


def test_a_lone_question_gets_all_cores_and_several_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (cpu_threads(None, alone=True), cpu_threads(None, alone=False), cpu_threads(4, alone=True)) == (6, 3, 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert (cpu_threads(None, alone=True), cpu_threads(5, alone=True)) == (2, 5)
    with pytest.raises(UserError, match=r"model\.threads=7 is more than the 6 cores"):
        cpu_threads(7, alone=True)


def test_weights_go_straight_to_a_card_whose_memory_grows_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has used PyTorch's allocator before: it reads its environment once. A user's own wish is respected."""
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    before = torch._C._accelerator_getAllocatorSettings()
    assert _placement(torch.device("cpu")) == {}
    assert torch._C._accelerator_getAllocatorSettings() == before
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "garbage_collection_threshold:0.8")
    assert _placement(torch.device("cuda:1")) == {"device_map": {"": torch.device("cuda:1")}}
    assert torch._C._accelerator_getAllocatorSettings() == before
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    _placement(torch.device("cuda"))
    assert torch._C._accelerator_getAllocatorSettings() == "expandable_segments:True"
    torch._C._accelerator_setAllocatorSettings(before)


@pytest.mark.parametrize(
    ("runs", "pipeline", "alone"), [(1, "on-policy", True), (2, "on-policy", False), (1, "one-step-off", False)]
)
async def test_sampler_and_trainer_have_all_cores_in_turn_or_half_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: int, pipeline: str, alone: bool
) -> None:
    from tests.tiny import write_model
    from ttsd.running.engine import load_tokenizer, open_engine
    from ttsd.sampling.background import in_thread

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    model = {"path": str(write_model(tmp_path / "model")), "sampler": "transformers", "dtype": "float32"}
    config = Config.model_validate({"model": model, "sampling": {"pipeline": pipeline}})
    async with open_engine(config, load_tokenizer(config), adapters=runs):
        threads = await in_thread(torch.get_num_threads)
    assert threads == (4 if alone else 2)
    torch.set_num_threads(1)
