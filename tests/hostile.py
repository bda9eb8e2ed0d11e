"""Folders of data that try to run code: modules under the names of libraries, each of which leaves a mark."""

from __future__ import annotations

import sys
from pathlib import Path

_OTHERS = {
    *("numpy", "sympy", "mpmath", "math_verify", "latex2sympy2_extended", "torch", "transformers", "tokenizers"),
    *(
        "safetensors",
        "jinja2",
        "peft",
        "vllm",
        "ray",
        "typer",
        "click",
        "rich",
        "pydantic",
        "sqlite_utils",
        "starlette",
    ),
    *("uvicorn", "plotly", "psutil", "gguf", "scipy", "networkx", "sortedcontainers", "sitecustomize", "usercustomize"),
}
_BEFORE_US = {"_virtualenv", "__editable___ttsd_finder"}


def hostile_folder(folder: Path, *, but: frozenset[str] = frozenset()) -> Path:
    """Fills `folder` with a module of every library's name; returns the file that holds the names of those that ran."""
    ran = folder.parent / f"{folder.name}-ran"
    folder.mkdir(exist_ok=True)
    for name in ({*sys.stdlib_module_names} | _OTHERS) - but - _BEFORE_US:
        source = f"open({str(ran)!r}, 'a').write({name!r} + '\\n')\nraise ImportError('a module of a folder of data')\n"
        (folder / f"{name}.py").write_text(source)
    return ran


def what_ran(ran: Path) -> set[str]:
    return set(ran.read_text().split()) if ran.exists() else set()
