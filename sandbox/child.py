"""Runs one program on one input, in a process that is thrown away afterwards.

What a program finds follows LiveCodeBench's grader: the names that it imports beforehand, a recursion limit of 50000
and integers of up to 50000 digits in text. A script runs as a real `__main__` (there: as the body of a function).
With an entry point the source is a module of the `__name__` "tmp_sol", as there, so that a block under
`if __name__ == "__main__"` does not run; each call has a process of its own (there: one for all calls), and tuples
become lists at every depth (there: only the outermost). nodes.py has LeetCode's lists and trees. Runs in the zygote:
standard library only.
"""

from __future__ import annotations

import _sitebuiltins
import _thread
import ast
import atexit
import builtins
import contextlib
import errno
import gc
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

from sandbox import nodes

FILE = "solution.py"
RESULT_FD = 3
_STAR = """
    string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json
    builtins typing
"""
# A source without these words leaves no file open that its end would have to flush.
_FILES = (b"open", b"Wrapper", b"Buffered", b"getwriter")
_MODULES = [name for name in _STAR.split() if name not in ("builtins", "typing")]


def equip() -> dict[str, Any]:
    """Sets limits and what `-S` leaves out, once in the zygote; returns the names that programs need not import."""
    builtins.open = io.open = _open
    os.open = _open_by_descriptor
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


_open_file, _open_descriptor = io.open, os.open
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_STREAMS |= {f"{folder}/fd/{number}": number for folder in ("/dev", "/proc/self") for number in range(3)}


def _stream(file: Any) -> int | None:
    """Returns the descriptor of the stream that `file`, a text, bytes or a path, names; None where it names none."""
    return None if isinstance(file, int) else _STREAMS.get(os.fsdecode(file))


def _open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    """Opens as if the program's folder were empty: streams can be opened by name, other files are not there."""
    stream = _stream(file)
    if stream is not None:
        return _open_file(os.dup(stream), mode, *arguments, **named)
    try:
        return _open_file(file, mode, *arguments, **named)
    except PermissionError:
        if isinstance(file, int) or os.path.isabs(file) or not mode.startswith("r"):
            raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)


def _open_by_descriptor(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
    """Opens as `os.open` does; streams by name, too: the input to read, the others to write."""
    stream = _stream(path)
    if stream is not None and flags & os.O_ACCMODE == (os.O_WRONLY if stream else os.O_RDONLY):
        return os.dup(stream)
    return _open_descriptor(path, flags, *arguments, **named)


class Call(NamedTuple):
    """Says which function is called, and which arguments and results have nodes (see interface.Program)."""

    entry_point: str
    arguments: list[str]
    returns: str


class Prepared(NamedTuple):
    """Holds a compiled program. Each test runs it in the module `name`, to which nothing else refers."""

    code: types.CodeType | BaseException  # the exception says why there is no code
    name: str
    call: Call | None
    names_at_first: int
    has_files: bool
    has_finalizers: bool


def prepare(source: bytes, call: Call | None, names: dict[str, Any]) -> Prepared:
    """Does all that can be done before a test without executing anything of the program."""
    module = types.ModuleType("__main__" if call is None else "tmp_sol")
    module.__dict__.update(names, __file__=FILE, __builtins__=builtins)
    sys.modules[module.__name__] = module
    _seed()
    return Prepared(
        code=_compiled(source),
        name=module.__name__,
        call=call,
        names_at_first=len(module.__dict__),
        has_files=any(word in source for word in _FILES),
        has_finalizers=b"__del__" in source,
    )


def _compiled(source: bytes) -> types.CodeType | BaseException:
    """Returns the code, and keeps the lines that tracebacks show.

    It is compiled from text, so that a coding comment changes nothing: what a reader sees is what runs.
    """
    try:
        text = source.decode("utf-8", "surrogatepass")
        linecache.cache[FILE] = (len(text), None, io.StringIO(text, newline=None).readlines(), FILE)
        return compile(text, FILE, "exec", dont_inherit=True)
    except BaseException as error:  # also MemoryError, RecursionError and whatever else a hostile text provokes
        return error.with_traceback(None)


def run(program: Prepared) -> NoReturn:
    """Runs the program to its end and ends the process with its exit status, as the interpreter would."""
    try:
        if isinstance(program.code, BaseException):
            raise program.code
        if program.call is None:
            exec(program.code, sys.modules[program.name].__dict__)
        else:
            _answer(program.code, sys.modules[program.name].__dict__, program.call)
        status = 0
    except SystemExit as request:
        status = _exit_status(request.code)
    except BaseException as error:
        status = 1
        _report(error)
    _finish(status, program)


def _seed() -> None:
    """Makes random numbers the same in every run, so that a verdict can be had again."""
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


def _answer(code: types.CodeType, scope: dict[str, Any], call: Call) -> None:
    """Calls the function and writes its result as JSON. Integers in both may have any number of digits."""
    lines = [line for line in sys.stdin if line.strip()]
    limit = _digits(0)
    values = [_argument(line) for line in lines]
    _digits(limit)
    if any((*call.arguments, call.returns)):
        scope.update(nodes.CLASSES)
    exec(code, scope)
    shapes = [*call.arguments, *[""] * len(values)]
    arguments = [nodes.built(value, shapes[at], scope) for at, value in enumerate(values)]
    result = _function(scope, call.entry_point)(*arguments)
    shape = call.returns
    if shape == nodes.IN_PLACE:
        result, shape = arguments[0], shapes[0]
    _digits(0)
    text = json.dumps(nodes.listed(result, shape), default=_plain)
    os.write(RESULT_FD, text.encode("utf-8", "surrogatepass"))


def _digits(limit: int) -> int:
    """Sets how many digits integers may have in text, 0 for any number, and returns the limit before."""
    before: int = getattr(sys, "get_int_max_str_digits", int)()
    getattr(sys, "set_int_max_str_digits", int)(limit)
    return before


def _argument(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return ast.literal_eval(line)


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
    """Returns the plain equivalent of numpy's scalars and arrays, and of nodes; anything else has none."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if nodes.is_node(value):
        return nodes.listed(value, "node")
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
    """Prints a traceback; the interpreter's own hook would look for the source on disk, and show this file's frames."""
    traceback.print_exception(kind, error, _own_frames(trace))


def _own_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Returns the traceback without this file's frames, before the program's and after them (`open`)."""
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    step = trace
    while step is not None and step.tb_next is not None:
        if step.tb_next.tb_frame.f_code in (_open.__code__, _open_by_descriptor.__code__):
            step.tb_next = None
        step = step.tb_next
    return trace


def _show_from_thread(details: threading.ExceptHookArgs) -> None:
    if details.exc_value is not None and details.exc_type is not SystemExit:
        print("Exception in thread:", file=sys.stderr)
        sys.excepthook(details.exc_type, details.exc_value, details.exc_traceback)


def _finish(status: int, program: Prepared) -> NoReturn:
    """Does what the interpreter does on its way out and os._exit does not.

    It waits for threads, runs exit handlers, flushes, and lets go of the program's module; errors of the last step are
    printed and no more.
    """
    threads = (threading._shutdown,) if _thread._count() else ()  # type: ignore[attr-defined]
    for step in (*threads, atexit._run_exitfuncs, _flush):
        try:
            step()
        except BaseException as error:
            status = status or 120
            _report(error)
    try:
        _release(program)
        _flush()
    finally:
        os._exit(status)


def _flush() -> None:
    """Flushes the standard streams, as far as they are open; ValueError where one was detached and not replaced."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not _is_closed(stream):
            stream.flush()


def _is_closed(stream: Any) -> bool:
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # detached
        return False


def _flush_files() -> None:
    """Flushes all files that are open: the collector might close a file before what is written to it by way of text."""
    for thing in gc.get_objects():
        if type(thing) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            with contextlib.suppress(ValueError, OSError):
                thing.flush()


def _release(program: Prepared) -> None:
    """Lets go of what the program has left: files are flushed, generators closed, finalizers run.

    A finalizer may use any name of the module, which lasts as long as a function refers to it: only the collector finds
    all. That costs most of a millisecond, so without finalizers the program's names are dropped, the last one first.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    if program.has_files:
        _flush_files()
    if program.has_finalizers:
        del sys.modules[program.name]
        gc.collect()
        return
    scope = sys.modules[program.name].__dict__
    while len(scope) > program.names_at_first:
        scope.popitem()
