"""Landlock: the files that a program may read are the interpreter's library, and nothing may be written.

Rules name what is allowed; the kernel refuses everything else, and, where its version of Landlock knows them, TCP and
signals out of the sandbox. stat is not covered: names, sizes and dates of files stay visible. Runs in the zygote:
standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Iterator

from sandbox import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on all machines
_VERSION = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
# How many of the file system's rights each version of the interface knows.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_PACKAGES = ("site-packages", "dist-packages")


def version() -> int:
    """Of the kernel's interface; 0 where there is none (not built in, switched off, or hidden by a container)."""
    try:
        return kernel.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0


def ruleset(abi: int) -> int:
    """A descriptor of a ruleset that handles all rights this version knows and, so far, grants none."""
    rights = (1 << _RIGHTS[min(abi, max(_RIGHTS))]) - 1
    network = 0b11 if abi >= _NETWORK_SINCE else 0
    scopes = 0b11 if abi >= _SCOPES_SINCE else 0
    fields = [rights, network, scopes][: 1 + (abi >= _NETWORK_SINCE) + (abi >= _SCOPES_SINCE)]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    return kernel.syscall(_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), 0)


def allow_reading(rules: int, paths: Iterable[str]) -> None:
    """Everything beneath a directory, or one file; what does not exist is passed over."""
    for path in filter(os.path.exists, paths):
        _allow(rules, path, _READ_FILE | _READ_DIR | _EXECUTE if os.path.isdir(path) else _READ_FILE | _EXECUTE)


def allow_listing(rules: int, paths: Iterable[str]) -> None:
    """The names in a directory and beneath, which the import system wants to see, but no contents."""
    for path in paths:
        _allow(rules, path, _READ_DIR)


def restrict(rules: int) -> None:
    """Applies the rules to this process and all it will fork. Needs no_new_privs; there is no way back."""
    kernel.syscall(_RESTRICT, rules, 0)


def _allow(rules: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.syscall(_ADD, rules, 1, ctypes.c_char_p(struct.pack("=Qi", rights, descriptor)), 0)
    finally:
        os.close(descriptor)


def stdlib_directories() -> list[str]:
    """The directories in which the standard library's modules are."""
    return sorted({os.path.realpath(path) for path in sys.path if os.path.isdir(path)})


def stdlib() -> Iterator[str]:
    """The standard library without the packages installed into it (one of them may hold a question's tests)."""
    for directory in stdlib_directories():
        yield from (os.path.join(directory, name) for name in os.listdir(directory) if name not in _PACKAGES)


def shared_libraries() -> Iterator[str]:
    """What the dynamic loader needs for modules that are loaded late; not whole directories where Python packages may
    lie beside them."""
    yield from ("/etc/ld.so.cache", f"/usr/lib/{getattr(sys.implementation, '_multiarch', 'none')}")
    for directory in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", os.path.join(sys.base_prefix, "lib")):
        paths = [os.path.join(directory, name) for name in os.listdir(directory)] if os.path.isdir(directory) else []
        yield from (path for path in paths if ".so" in path and os.path.isfile(path))
