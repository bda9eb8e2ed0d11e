"""Landlock, the second line: a process that may name no file any more, whatever the system call filter lets through.

No rule is added, so the kernel refuses all that its version of Landlock knows: opening, listing, creating and changing
files, TCP, and signals and abstract sockets out of the sandbox; and with it ptrace's rights over processes outside.
It does not cover stat. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import ctypes
import struct

from sandbox import kernel

_CREATE, _RESTRICT = 444, 446  # the same on all machines
_VERSION = 1
# How many of the file system's rights each version of the interface knows.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


def version() -> int:
    """Returns the version of the kernel's interface; 0 where there is none (not built in, switched off, or hidden by a
    container).
    """
    try:
        return kernel.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0


def ruleset(abi: int) -> int:
    """Returns a descriptor of a ruleset that handles all rights this version knows and grants none."""
    rights = (1 << _RIGHTS[min(abi, max(_RIGHTS))]) - 1
    network = 0b11 if abi >= _NETWORK_SINCE else 0
    scopes = 0b11 if abi >= _SCOPES_SINCE else 0
    fields = [rights, network, scopes][: 1 + (abi >= _NETWORK_SINCE) + (abi >= _SCOPES_SINCE)]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    return kernel.syscall(_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), 0)


def restrict(rules: int) -> None:
    """Applies the rules to this process and all it will fork. Needs no_new_privs; there is no way back."""
    kernel.syscall(_RESTRICT, rules, 0)
