"""What an attack could harm: files, a process, sockets and secrets of the trusted side; and whether it did."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


class World:
    """Made by, and readable and writable for, the user who runs the sandbox."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(16)
        os.environ["WORLD_SECRET"] = self.secret
        self.home = Path(tempfile.mkdtemp(prefix="world-"))
        self._fill()
        self._descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]  # a trainer has many, too
        self.victim = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.home / "socket"))
        self.unix.listen()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        for listener in (self.tcp, self.unix, self.udp):
            listener.setblocking(False)
        self._before = self._state()

    def _fill(self) -> None:
        (self.home / "secret.txt").write_text(self.secret)
        (self.home / "module.py").write_text(f"SECRET = {self.secret!r}")
        (self.home / "1.out").write_text("YES\n")
        (self.home / "folder").mkdir()
        (self.home / "link").symlink_to("secret.txt")

    def addresses(self) -> dict[str, object]:
        """What a program is told; no secret among it."""
        return {
            "home": str(self.home),
            "victim": self.victim.pid,
            "parent": os.getpid(),
            "tcp": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "unix": str(self.home / "socket"),
            "python": sys.executable,
        }

    def damage(self) -> list[str]:
        """One line per thing that is no longer as it was."""
        now = self._state()
        changed = [
            f"{name}: {self._before[name]!r} became {now[name]!r}" for name in now if now[name] != self._before[name]
        ]
        return changed + [
            f"somebody reached the {name} socket" for name in ("tcp", "unix", "udp") if self._reached(name)
        ]

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {
            f"file {path}": _file_state(path) for path in [self.home, *sorted(self.home.rglob("*"))]
        }
        state["files"] = sorted(map(str, self.home.rglob("*")))
        state["strays"] = sorted(str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("*breach*"))
        state["victim"] = (
            self.victim.poll(),
            resource.prlimit(self.victim.pid, resource.RLIMIT_NOFILE),
            _status(self.victim.pid),
        )
        state["own limits"] = resource.getrlimit(resource.RLIMIT_NOFILE)
        state["priority"] = os.getpriority(os.PRIO_PROCESS, self.victim.pid)
        for kind in ("shm", "msg", "sem"):
            with contextlib.suppress(OSError):
                state[kind] = len(Path(f"/proc/sysvipc/{kind}").read_text().splitlines())
        return state

    def _reached(self, name: str) -> bool:
        listener: socket.socket = getattr(self, name)
        try:
            if name == "udp":
                listener.recv(100)
            else:
                listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for listener in (self.tcp, self.unix, self.udp):
            listener.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        for path in sorted(self.home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.home.rmdir()


def _file_state(path: Path) -> tuple[object, ...]:
    facts = path.lstat()
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    attributes = os.listxattr(path, follow_symlinks=False)
    return (
        facts.st_mode,
        facts.st_uid,
        facts.st_gid,
        facts.st_nlink,
        facts.st_size,
        facts.st_mtime_ns,
        content,
        attributes,
    )


def _status(pid: int) -> list[str]:
    """Running or stopped, traced or not."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [
        line for line in lines if line.startswith("TracerPid") or (line.startswith("State") and "T" in line.split()[1])
    ]


def children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return set()


def descendants(pid: int) -> set[int]:
    """The children of a process, and theirs."""
    own = children(pid)
    return own.union(*map(descendants, own))
