"""Packets between the trusted process, a zygote and a program's supervisor; both sides use it: standard library only.

Each packet is one message of a SEQPACKET socket, with file descriptors attached. An empty one ends the connection.
"""

from __future__ import annotations

import _socket  # socket itself is large, and forks pay for it
import struct
from collections.abc import Sequence
from typing import NamedTuple

KILL = b"kill"
TEST = b"test"
CROWDED = 71  # exit status of a supervisor that could have no process for a test
STATUS = struct.Struct("<i")  # a wait status, from the zygote when a supervisor and all its children are gone
_REPORT = struct.Struct("<?iBddq")


class Report(NamedTuple):
    """What a supervisor saw of one test, in numbers only."""

    confined: bool  # the child finished its set-up; False is our fault, never the program's
    status: int  # as from waitpid
    stopped_for: int  # one of the three below
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int

    def pack(self) -> bytes:
        return _REPORT.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes) -> Report:
        return cls(*_REPORT.unpack(payload))


NOTHING, CPU, WALL = range(3)


def send(connection: _socket.socket, payload: bytes, descriptors: Sequence[int] = ()) -> None:
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))
    connection.sendmsg([payload], [rights] if descriptors else [])


def receive(connection: _socket.socket) -> tuple[bytes, list[int]]:
    payload, ancillary, _flags, _address = connection.recvmsg(1 << 16, _socket.CMSG_SPACE(8 * 4))
    return payload, [descriptor for *_, data in ancillary for (descriptor,) in struct.iter_unpack("i", data)]
