"""Runs what a model's folder asks for, its chat template, in a process of its own, within bounds of time and memory.

A template can't reach anything outside (transformers runs it in jinja's sandbox), but it can loop for ever.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

SECONDS = 10
MEMORY_BYTES = 1 << 30
MAX_BYTES = 16 << 20


def bounded(work: Callable[[], str]) -> str:
    """Returns what `work` does. ValueError: it fails, with its message, or it takes more than the bounds."""
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: the new process starts none and ends without tidying up
        child = os.fork()
    if child == 0:
        _work(work, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as file:
        said = file.read(MAX_BYTES + 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not said or len(said) > MAX_BYTES:
        raise ValueError(f"it takes more than {SECONDS} seconds, or more memory than a text needs")
    found = json.loads(said)
    if "error" in found:
        raise ValueError(found["error"])
    return str(found["text"])


def _work(work: Callable[[], str], sending: int) -> None:
    """Does the work and ends this process, whatever happens."""
    try:
        for number in (signal.SIGXCPU, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        seconds = int(time.process_time()) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
        try:
            said = {"text": work()}
        except Exception as error:
            said = {"error": str(error)[:500] or type(error).__name__}
        with os.fdopen(sending, "w") as file:
            json.dump(said, file)
    finally:
        os._exit(0)
