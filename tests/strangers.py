"""What strangers bring along: names that steer a terminal, journals that delete files, and how to look at both."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path


def listed(folder: Path) -> list[tuple[str, str]]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return [(str(file.relative_to(folder)), file.read_text()) for file in files]


def journal_of_two(database: Path, other: Path) -> bytes:
    """A journal as SQLite leaves it where it was killed in a transaction over two databases: `other` is their list."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(other).encode()
    header = magic + struct.pack(">5I", 0, 0, database.stat().st_size // 4096, 512, 4096)
    facts = struct.pack(">2I", len(name), sum(name))
    return header.ljust(512, b"\0") + struct.pack(">I", 0x40000000 // 4096 + 1) + name + facts + magic


# Clears the screen, names the window, links, 8-bit controls, turned text, signs that take no room, a line of its own.
HOSTILE = (
    "\x1b[2J\x1b[31m", "\x1b]0;owned\x07", "\x1b]8;;http://a.b\x1b\\", "\x9b2J", "\x9d0;x\x9c", "\u202e", "\u2066",
    "\u200b", "\u200f", "\ufeff", "\u00ad", "\U000e0041", "\u2028", "\rspoof", "\x08", "\x7f", "\x0c",
)  # fmt: skip


def received(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:  # the other end is closed
            return
        if not data:
            return
        yield data
