"""Imports what programs can import before them, in the process that supervises them, as they may open no file.

Some of it is imported always, the rest where the program's text mentions it. Nothing else is ever imported, whatever
the text says. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from sandbox import event_loop

# What competitive programs import, so that no test has to pay for it. The size of the zygote is paid at every fork.
PRELOADED = """
    ast bisect collections.abc copy datetime decimal fractions functools gc heapq io itertools json math numbers
    operator os random re statistics string struct sys threading time traceback types typing weakref
"""
# For texts with these words anywhere, as libraries reach some of them without an import of the program's own.
MENTIONED = """
    argparse array asyncio base64 binascii calendar cmath codecs concurrent.futures contextlib contextvars csv
    dataclasses difflib enum fcntl graphlib hashlib inspect ipaddress locale logging mmap multiprocessing pathlib
    pickle platform pprint queue reprlib resource sched secrets select shutil signal socket _strptime subprocess
    sysconfig tempfile textwrap timeit tokenize unicodedata unittest uuid warnings zlib zoneinfo
"""
# For texts with these words in a line that says "import": many are words of comments, too.
IMPORTED = """
    abc bz2 cProfile cmd code codeop colorsys compileall configparser copyreg ctypes ctypes.util dis doctest email
    email.message encodings errno faulthandler filecmp fileinput fnmatch formatter getopt getpass gettext glob grp gzip
    hmac html html.entities html.parser http http.client imp importlib.abc importlib.machinery importlib.metadata
    importlib.resources importlib.util keyword linecache logging.handlers lzma mailbox marshal mimetypes
    multiprocessing.dummy multiprocessing.pool multiprocessing.shared_memory ntpath nturl2path opcode optparse
    pdb pickletools pkgutil plistlib posix posixpath profile pstats pwd pyclbr pydoc quopri rlcompleter runpy selectors
    shelve shlex site smtplib socketserver sqlite3 ssl stat stringprep symtable syslog tarfile termios
    token tomllib trace tracemalloc tty unittest.mock urllib urllib.error urllib.parse urllib.request wave
    xml xml.dom xml.dom.minidom xml.etree xml.etree.ElementTree xml.sax xmlrpc.client zipfile zipimport
"""
# Packages beyond the standard library that programs may import by default: AtCoder has them, and what they need.
PACKAGES = ("numpy", "scipy", "networkx", "sympy", "mpmath", "sortedcontainers")
# Parts that a package imports late without a word in the text.
_LATE_PARTS = {
    "sympy": "assumptions.wrapper codegen.ast combinatorics integrals.heurisch integrals.manualintegrate"
    " integrals.risch physics.units sets.handlers.functions sets.handlers.issubset sets.setexpr tensor.tensor",
}
# Parts that a package imports only when a program asks for them; for texts with all words of a name anywhere.
_PARTS = {
    "numpy": "fft linalg polynomial random ma testing typing",
    "scipy": "cluster constants fft fftpack integrate interpolate io linalg ndimage optimize signal sparse"
    " sparse.csgraph sparse.linalg spatial spatial.distance special stats",
}
# Where a text mentions the first, the others are imported late by the library itself.
_FOLLOW = {
    "concurrent": "concurrent.futures.thread concurrent.futures.process",
    "multiprocessing": "multiprocessing.connection multiprocessing.pool multiprocessing.popen_fork"
    " multiprocessing.popen_spawn_posix multiprocessing.queues multiprocessing.synchronize",
    "socket": "encodings.idna",
    "asyncio": "concurrent.futures.thread",
    "\\N{": "unicodedata",
    "minimum_weight_full_matching": "scipy.optimize scipy.sparse",
    "pagerank": "scipy.sparse",
}
_CODING = re.compile(rb"coding[:=]\s*([-\w]+)|['\"]([-\w]{3,16})['\"]")
_MOST_ENCODINGS = 100
_packages: list[str] = []


def preload(packages: Sequence[str]) -> None:
    """Imports, once in the zygote, what no test has to pay for, and lets programs import `packages`."""
    _packages[:] = packages
    sys.meta_path.append(Packages(packages))
    _import(PRELOADED.split())


def import_mentioned(text: bytes) -> None:
    """Imports what a text mentions, in a program's supervisor before it gives up all files; `np.random` counts, too."""
    words = _words(text)
    imported = _words(b"\n".join(line for line in text.split(b"\n") if b"import" in line))
    _import(name for name in MENTIONED.split() if _is_mentioned(name, words))
    _import(name for name in IMPORTED.split() if _is_mentioned(name, imported))
    for package in _packages:
        if _is_mentioned(package, words):
            parts = [f"{package}.{part}" for part in _PARTS.get(package, "").split()]
            late = [f"{package}.{part}" for part in _LATE_PARTS.get(package, "").split()]
            _import([package, *late, *(name for name in parts if _is_mentioned(name, words))])
    _import(name for word, names in _FOLLOW.items() if word.encode() in text for name in names.split())
    if b"cod" in text:  # encode, decode, encoding, codecs, and the comment of a source
        _look_up_encodings(text)
    if not text.isascii():
        _import(["unicodedata"])  # for the width of a traceback's line
    if "asyncio" in sys.modules:
        event_loop.install()


def _look_up_encodings(text: bytes) -> None:
    """Looks up the encodings that a text names: each is a module that is imported when it is first looked up."""
    names = {name for pair in _CODING.findall(text) for name in pair if name}
    for name in sorted(names)[:_MOST_ENCODINGS]:
        with contextlib.suppress(LookupError, ValueError):
            codecs.lookup(name.decode("ascii", "replace"))


def _words(text: bytes) -> set[bytes]:
    return set(re.findall(rb"[^\W_]\w*", text))


def _is_mentioned(name: str, words: set[bytes]) -> bool:
    return all(part.strip("_").encode() in words for part in name.split("."))


def _import(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):  # not in this version or on this machine: the program's own import says so
            importlib.import_module(name)


class Packages:
    """Finds, for sys.meta_path, a few packages beyond the standard library, without opening all of site-packages.

    What else is installed there (a question's tests, say) is none of a program's business.
    """

    def __init__(self, names: Sequence[str]) -> None:
        places = [(name, site) for site in reversed(_sites()) for name in names if name.isidentifier()]
        self._sites = {name: site for name, site in places if _is_in(site, name)}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns where the package `name` is; None for any other one."""
        return PathFinder.find_spec(name, [self._sites[name]]) if name in self._sites else None


def _is_in(site: str, name: str) -> bool:
    place = os.path.join(site, name)
    return os.path.isdir(place) or os.path.isfile(f"{place}.py")


def _sites() -> list[str]:
    """Returns site-packages of the virtual environment, which an interpreter does not know under -S, or its own."""
    environment = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    inside = os.path.exists(os.path.join(environment, "pyvenv.cfg"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    libraries = [os.path.join(environment if inside else sys.prefix, name, version) for name in ("lib", "lib64")]
    places = [os.path.join(library, "site-packages") for library in libraries]
    return places if inside else [*places, f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages"]
