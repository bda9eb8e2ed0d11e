"""What a function costs, counted in operations: seconds would show the machine's other work as well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def operations(function: Callable[[str], object], text: str) -> int:
    """What `function(text)` costs at most: bytecodes, and for each built-in method of a text the text's length.

    A pattern that repeats nothing runs once over its text; any other one might not, and costs the square. Its text is
    taken to be the longest one that its caller has at hand. `rfind` stops where it finds something, and the text up to
    there is counted when it is cut out.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        owner = getattr(argument, "__self__", None)
        if event == "c_call" and isinstance(owner, str | bytes):
            count += len(owner) if argument.__name__ != "rfind" else 0
        if event == "c_call" and hasattr(owner, "pattern"):
            longest = max((len(value) for value in frame.f_locals.values() if isinstance(value, str)), default=0)
            count += longest ** (1 + any(sign in owner.pattern for sign in "*+"))

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        function(text)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count
