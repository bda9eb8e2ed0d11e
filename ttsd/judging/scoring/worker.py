"""The process that runs a scorer: the first line on stdin says which, every other one is an answer as JSON text.

    {"kind": "answer", "expected": "3/4", "exact": false, "tolerance": null, "memory_bytes": N,
     "cpu_seconds": 6.0}
    {"kind": "judge", "judge": "MODULE:FUNCTION" or "/path/FILE.py:FUNCTION"}

One JSON object a line goes out, the first when the scorer is ready. Whatever the scorer prints goes to stderr, so that
it can't be taken for an answer of ours.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ttsd.judging.scoring.same_answer import same_answer

ScoreFunction = Callable[[str], tuple[float, str, str]]  # score, feedback, what is unfinished

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Loads the scorer, says so, and answers until stdin ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a scorer in an endless loop would outlive its owner
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an end by a limit is no crash to look into
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        scorer = _loaded(json.loads(sys.stdin.readline()), out)
        _say(out, ready=True)
        for line in sys.stdin:
            _answer(scorer, json.loads(line), out)


def _answer(scorer: ScoreFunction, answer: str, out: TextIO) -> None:
    try:
        score, feedback, unfinished = scorer(answer)
    except MemoryError:
        os._exit(1)
    except Exception as error:
        _say(out, error=f"{type(error).__name__}: {error}")
    else:
        _say(out, score=score, feedback=feedback, unfinished=unfinished)


def _say(out: TextIO, **said: Any) -> None:
    out.write(json.dumps(said) + "\n")
    out.flush()


def _loaded(spec: dict[str, Any], out: TextIO) -> ScoreFunction:
    try:
        return _judge(spec["judge"]) if spec["kind"] == "judge" else _comparison(spec)
    except Exception as error:
        _say(out, error=f"{type(error).__name__}: {error}")
        sys.exit(1)


def _comparison(spec: dict[str, Any]) -> ScoreFunction:
    expected, rule = spec["expected"], {"exact": spec["exact"], "tolerance": spec["tolerance"]}
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that nobody but us limits its time
    same_answer("x + x", "2x", exact=False, tolerance=None)  # the imports, before the limit and the clock
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + spec["memory_bytes"],) * 2)

    def scorer(answer: str) -> tuple[float, str, str]:
        _limit_cpu(spec["cpu_seconds"])
        try:
            found = same_answer(answer, expected, **rule)
            return float(found.right), "", found.unfinished
        except MemoryError:
            raise
        except Exception:  # what the algebra system can't read, or stumbles over, is not the right answer
            return 0.0, "", ""

    return scorer


def _limit_cpu(seconds: float) -> None:
    """Ends this process by SIGXCPU when it has worked for so long from now on; the limit knows whole seconds only."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def _address_space() -> int:
    """Returns the bytes that the interpreter and the libraries take before any answer comes, in address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _judge(name: str) -> ScoreFunction:
    module_name, _, function_name = name.rpartition(":")
    function = getattr(_module(module_name), function_name)
    return lambda answer: _score(function(answer))


def _module(name: str) -> Any:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _score(returned: object) -> tuple[float, str, str]:
    score, feedback = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, "")
    if not isinstance(score, int | float) or math.isnan(score) or not isinstance(feedback, str):
        raise TypeError(f"it returned {returned!r:.200}, which is neither a score nor (score, feedback)")
    return float(score), feedback, ""


if __name__ == "__main__":
    main()
