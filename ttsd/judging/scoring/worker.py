"""Runs a scorer in a process of its own: the first line on stdin says which, every other one is a JSON request.

    {"kind": "answer", "expected": "3/4", "exact": false, "tolerance": null, "memory_bytes": N,
     "cpu_seconds": 6.0}                                                requests are answers, texts
    {"kind": "output", "checker": {...}, "function": false, "memory_bytes": N}
                                           {"output": ..., "expected": ..., "exact": ...}: a built-in comparison
    {"kind": "judge", "judge": "/path/FILE.py:FUNCTION"}       likewise
    {"kind": "checker", "file": "/path/FILE.py", "values": false}       {"input": ..., "output": ..., "expected": ...}

One JSON object a line goes out, the first when the scorer is ready. The scorer itself finds an empty stdin, and what it
prints goes to stderr, so that neither it nor what it starts can touch this protocol.

Two processes: the one that the owner starts only waits, and ends the scorer with everything that it has started, also
what has left its process group, when the owner asks (SIGTERM), when the owner is gone, or when the scorer ends.
"""

from __future__ import annotations

import ast
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
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from problems.checker import Checker
from problems.problem import Case
from sandbox import kernel
from sandbox.confinement import address_space
from ttsd.judging.same_output import right
from ttsd.judging.scoring import SIGNALLED
from ttsd.judging.scoring.same_answer import same_answer

Scored = tuple[float, str, str]  # score, feedback, what is unfinished
ScoreFunction = Callable[[Any], Scored]

_AWAITED = {signal.SIGTERM, signal.SIGCHLD}


def main() -> NoReturn:
    """Starts the scorer and waits for its end, or for the owner's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # the scorer's orphans become this process's children
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    scorer = os.fork()
    if scorer == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        serve()
    os.close(0)
    os.close(1)
    status = _end_of(scorer)
    _end_all(scorer)
    os._exit(status)


def _end_of(scorer: int) -> int:
    """Waits for the scorer's end and returns its exit status; 0 where the owner wants it ended before that."""
    while signal.sigwait(_AWAITED) != signal.SIGTERM:
        with suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG):
                if ended[0] == scorer:
                    code = os.waitstatus_to_exitcode(ended[1])
                    return code if code >= 0 else SIGNALLED - code
                if not ended[0]:
                    break
    return 0


def _end_all(scorer: int) -> None:
    """Kills the scorer's process group, then all children of this process until there are none."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(scorer, signal.SIGKILL)
    with suppress(OSError):  # a kernel without this file
        while children := Path("/proc/thread-self/children").read_text().split():
            for child in children:
                os.kill(int(child), signal.SIGKILL)
                os.waitpid(int(child), 0)


def serve() -> NoReturn:
    """Loads the scorer, says so, and answers until the owner has no more requests."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an end by a limit is no crash to look into
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as out:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        scorer = _loaded(json.loads(requests.readline()), out)
        _say(out, ready=True)
        for line in requests:
            _answer(scorer, json.loads(line), out)
    os._exit(0)


def _answer(scorer: ScoreFunction, request: Any, out: TextIO) -> None:
    try:
        score, feedback, unfinished = scorer(request)
    except BaseException as error:  # SystemExit too: nothing of a request ends this process
        _say(out, error=_named(error))
    else:
        _say(out, score=score, feedback=feedback, unfinished=unfinished)


def _named(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    return f"{type(error).__name__}: {error}"


def _say(out: TextIO, **said: Any) -> None:
    sys.stdout.flush()
    out.write(json.dumps(said) + "\n")
    out.flush()


def _loaded(spec: dict[str, Any], out: TextIO) -> ScoreFunction:
    try:
        return {"answer": _comparison, "output": _output, "judge": _judge, "checker": _checker}[spec["kind"]](spec)
    except BaseException as error:
        _say(out, error=_named(error))
        os._exit(1)


def _comparison(spec: dict[str, Any]) -> ScoreFunction:
    expected, rule = spec["expected"], {"exact": spec["exact"], "tolerance": spec["tolerance"]}
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that nobody but us limits its time
    same_answer("x + x", "2x", exact=False, tolerance=None)  # the imports, before the limit and the clock
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + spec["memory_bytes"],) * 2)

    def scorer(answer: str) -> Scored:
        _limit_cpu(spec["cpu_seconds"])
        try:
            found = same_answer(answer, expected, **rule)
            return float(found.right), "", found.unfinished
        except MemoryError:
            os._exit(1)
        except Exception:  # what the algebra system can't read, or stumbles over, is not the right answer
            return 0.0, "", ""

    return scorer


def _output(spec: dict[str, Any]) -> ScoreFunction:
    """Returns the comparison of long outputs by a rule of same_output.py."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + spec["memory_bytes"],) * 2)
    checker = Checker(**spec["checker"])

    def scorer(request: dict[str, Any]) -> Scored:
        case = Case("", request["expected"], exact=request["exact"])
        try:
            return float(right(request["output"].encode(), case, checker, function=spec["function"])), "", ""
        except MemoryError:
            os._exit(1)

    return scorer


def _limit_cpu(seconds: float) -> None:
    """Ends this process by SIGXCPU when it has worked for so long from now on; the limit knows whole seconds only."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def _judge(spec: dict[str, Any]) -> ScoreFunction:
    file, _, function_name = spec["judge"].rpartition(":")
    function = getattr(_module(file), function_name)
    return lambda answer: _score(function(answer))


def _checker(spec: dict[str, Any]) -> ScoreFunction:
    """Returns the scorer of `check(input, output, expected)`; a function's cases are passed as values."""
    sys.set_int_max_str_digits(0)
    check = _module(spec["file"]).check

    def scorer(request: dict[str, str]) -> Scored:
        given, output, expected = request["input"], request["output"], request["expected"]
        if not spec["values"]:
            return _score(check(given, output, expected))
        arguments = [_value(line) for line in given.split("\n")] if given else []
        return _score(check(arguments, _value(output), _value(expected)))

    return scorer


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _module(name: str) -> Any:
    path = Path(name)
    sys.path.append(str(path.parent))  # last, so that no file there takes the place of a library
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _score(returned: object) -> Scored:
    score, feedback = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, "")
    if isinstance(score, str) or not hasattr(score, "__float__") or not isinstance(feedback, str):
        raise TypeError(f"it returned {returned!r:.200}, which is neither a score nor (score, feedback)")
    if not math.isfinite(score):
        raise ValueError(f"it returned the score {score!r}, which is not finite")
    return float(score), feedback, ""


if __name__ == "__main__":
    main()
