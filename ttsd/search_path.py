"""Where Python looks for modules: never in the working directory, since a folder of data must not run anything.

This file, `ttsd/__init__.py` and `ttsd/__main__.py` import nothing that is not in memory when Python has started, not
even `__future__`: `python -m ttsd` looks for it in the working directory first.
"""

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # of ttsd


def leave_working_directory_out() -> None:
    """Takes the working directory off the search path of this process and of all that it starts."""
    sys.path[:] = without_working_directory(sys.path)
    os.environ["PYTHONSAFEPATH"] = "1"
    given = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(without_working_directory(given.split(os.pathsep)))


def without_working_directory(folders: list[str]) -> list[str]:
    """Returns `folders` without the working directory, unless ttsd itself is there."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # somebody has deleted it
        here = ""
    if here == HOME:
        return [folder or HOME for folder in folders]
    return [folder for folder in folders if folder not in ("", ".") and os.path.realpath(folder) != here]
