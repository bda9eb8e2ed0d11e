"""Runs one program on one input, in a process that is thrown away afterwards.

What a program finds follows LiveCodeBench's grader: the names that it imports beforehand, a recursion limit of 50000
and integers of up to 50000 digits in text. A script runs as a real `__main__` (there: as the body of a function).
With an entry point the source is a module of the `__name__` "tmp_sol", as there, so that a block under
`if __name__ == "__main__"` does not run; each call has a process of its own (there: one for all calls), and tuples
become lists at every depth (there: only the outermost). Runs in the zygote: standard library only.
"""

from __future__ import annotations

import _sitebuiltins
import _thread
import atexit
import builtins
import errno
import io
import json
import linecache
import os
import random
import sys
import threading
import traceback
import types
from typing import Any, NamedTuple, NoReturn

FILE = "solution.py"
RESULT_FD = 3
_STAR = """
    string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json
    builtins typing
"""
_MODULES = [name for name in _STAR.split() if name not in ("builtins", "typing")]


def equip() -> dict[str, Any]:
    """Sets limits once in the zygote, and imports what `-S` leaves out.

    Returns the names that programs need not import.
    """
    builtins.open = io.open = _open
    os.getcwd = lambda: "/"
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    sys.setrecursionlimit(50_000)
    getattr(sys, "set_int_max_str_digits", int)(50_000)
    sys.argv[:] = sys.orig_argv[:] = [FILE]
    sys.excepthook = _show
    threading.excepthook = _show_from_thread
    threading.stack_size(8 << 20)
    names: dict[str, Any] = {}
    exec(
        "\n".join([f"from {name} import *" for name in _STAR.split()] + [f"import {name}" for name in _MODULES]), names
    )
    del names["__builtins__"]
    return names


_open_file = io.open
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/0": 0, "/dev/fd/1": 1, "/dev/fd/2": 2}


def _open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    """Opens it as if the program's folder were empty: streams can be opened by name, and other files are not
    there.
    """
    if file in _STREAMS:
        return _open_file(os.dup(_STREAMS[file]), mode, *arguments, **named)
    try:
        return _open_file(file, mode, *arguments, **named)
    except PermissionError:
        if isinstance(file, int) or os.path.isabs(file) or not mode.startswith("r"):
            raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)


class Prepared(NamedTuple):
    """A program that has been compiled, and the module in which each test will run it."""

    code: types.CodeType | BaseException  # the exception says why there is no code
    scope: dict[str, Any]
    entry_point: str | None
    names_at_first: int

    def forget(self) -> None:
        """Lets go of the program's own names, so that files which it left open are flushed."""
        while len(self.scope) > self.names_at_first:
            self.scope.popitem()


def prepare(source: bytes, entry_point: str | None, names: dict[str, Any]) -> Prepared:
    """Does all that can be done before a test without executing anything of the program."""
    module = types.ModuleType("__main__" if entry_point is None else "tmp_sol")
    module.__dict__.update(names, __file__=FILE, __builtins__=builtins)
    sys.modules[module.__name__] = module
    _seed()
    return Prepared(_compiled(source), module.__dict__, entry_point, len(module.__dict__))


def _compiled(source: bytes) -> types.CodeType | BaseException:
    """Compiles it, and keeps the lines that tracebacks show."""
    try:
        text = source.decode("utf-8", "replace")
        linecache.cache[FILE] = (len(text), None, io.StringIO(text, newline=None).readlines(), FILE)
        return compile(source, FILE, "exec", dont_inherit=True)
    except BaseException as error:  # also MemoryError, RecursionError and whatever else a hostile text provokes
        return error.with_traceback(None)


def run(program: Prepared) -> NoReturn:
    """Runs the program to its end and ends the process with its exit status, as the interpreter would."""
    try:
        if isinstance(program.code, BaseException):
            raise program.code
        if program.entry_point is None:
            exec(program.code, program.scope)
        else:
            _answer(program.code, program.scope, program.entry_point)
        status = 0
    except SystemExit as request:
        status = _exit_status(request.code)
    except BaseException as error:
        status = 1
        _report(error)
    _finish(status, program)


def _seed() -> None:
    """Seeds the same numbers in every run, so that a verdict can be had again."""
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


def _answer(code: types.CodeType, scope: dict[str, Any], entry_point: str) -> None:
    arguments = [json.loads(line) for line in sys.stdin if line.strip()]
    exec(code, scope)
    text = json.dumps(_function(scope, entry_point)(*arguments), default=_plain)
    os.write(RESULT_FD, text.encode("utf-8", "surrogatepass"))


def _function(scope: dict[str, Any], entry_point: str) -> Any:
    solution = scope.get("Solution")
    if solution is not None and hasattr(solution, entry_point):
        return getattr(solution(), entry_point)
    if entry_point in scope:
        return scope[entry_point]
    raise NameError(
        f"the program defines neither a function {entry_point!r} nor a class Solution with a method of that name"
    )


def _plain(value: Any) -> Any:
    """Returns the plain equivalent of numpy's scalars and arrays; anything else has none."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"the returned value has a part of type {type(value).__name__}, which has no JSON form")


def _exit_status(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _report(error: BaseException) -> None:
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:  # no memory left to format it, or an exception hook of the program's own
        os.write(2, b"MemoryError\n" if isinstance(error, MemoryError) else type(error).__name__.encode())


def _show(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Shows the traceback.

    The interpreter's own hook would look for the source on disk, and would show the frames of this file.
    """
    traceback.print_exception(kind, error, _own_frames(trace))


def _own_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Returns it without the frames of this file, before the program's and after them (`open`)."""
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    step = trace
    while step is not None and step.tb_next is not None:
        if step.tb_next.tb_frame.f_code is _open.__code__:
            step.tb_next = None
        step = step.tb_next
    return trace


def _show_from_thread(details: threading.ExceptHookArgs) -> None:
    if details.exc_value is not None and details.exc_type is not SystemExit:
        print("Exception in thread:", file=sys.stderr)
        sys.excepthook(details.exc_type, details.exc_value, details.exc_traceback)


def _finish(status: int, program: Prepared) -> NoReturn:
    """Does what os._exit does not on the way out: wait for threads, run exit handlers, flush."""
    steps = (atexit._run_exitfuncs, _flush, program.forget)
    threads = (threading._shutdown,) if _thread._count() else ()  # type: ignore[attr-defined]
    for step in (*threads, *steps):
        try:
            step()
        except BaseException as error:
            status = status or 120
            _report(error)
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
