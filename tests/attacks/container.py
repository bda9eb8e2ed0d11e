"""Makes this process, which must be root's, as poor as one in a Docker container with the default profile."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import platform
import struct

from sandbox import kernel, seccomp

CAPABILITIES = 0xA80425FB  # Docker's default set
_NAMESPACES = 0x7E020000  # flags of clone
# What that profile refuses: x86-64 and aarch64, where different.
_REFUSED = {
    "x86_64": (
        "272 308 165 166 155 248 249 250 425 426 427 321 298 323 175 313 176 246 320 169 163 164 227 305 167 "
        "168 304 237 238 239 256 279 135 179 172 173 103 428 429 430 431 432 433 442 161"
    ),
    "aarch64": (
        "97 268 40 39 41 217 218 219 425 426 427 280 241 282 105 273 106 104 294 142 89 170 112 266 224 225 "
        "265 235 237 236 238 239 92 60 116 428 429 430 431 432 433 442"
    ),
}


def enter() -> None:
    """There is no way back."""
    machine = platform.machine()
    architecture, numbers = seccomp.MACHINES[machine]
    refusals = seccomp._if_equal(map(int, _REFUSED[machine].split()), seccomp._refuse())
    clone3 = seccomp._rule(numbers, "clone3", seccomp._refuse(errno.ENOSYS))
    allow = seccomp._allow()
    clone = seccomp._rule(
        numbers, "clone", [*seccomp._argument_and(0, _NAMESPACES), *seccomp._if_equal([0], allow), *seccomp._refuse()]
    )
    seccomp.installation(b"".join([*seccomp._prologue(architecture), *refusals, *clone3, *clone, *allow]))()
    for capability in range(64):
        if not CAPABILITIES >> capability & 1:
            with contextlib.suppress(OSError):
                kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    sets = ctypes.create_string_buffer(struct.pack("6I", CAPABILITIES, CAPABILITIES, 0, 0, 0, 0))
    assert kernel.libc.capset(header, sets) == 0
    assert kernel.libc.unshare(0x10000000) == -1
