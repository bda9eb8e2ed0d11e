"""Feeds the loaders broken and hostile rows: each must give a question or a one-sentence ProblemError, soon.

    nice python -m tests.bench.fuzz_livecodebench --seconds 600

Rows are mutated at every layer: bytes of the line, fields, and inside private_test_cases the base64, zlib, pickle and
JSON layers, each broken before the outer ones are put round it again. Seeds are the rows of a file in LiveCodeBench's
schema (--rows) and little rows of every source. Exit status 1 at the first finding, whose row is printed.
"""

from __future__ import annotations

import argparse
import base64
import json
import pickle
import random
import resource
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from problems import ProblemError, collection, livecodebench, split
from problems.problem import Problem, checked
from problems.rows import parsed
from tests.rows import ROWS, codeforces_row, humaneval_row, mbpp_row, row

MEMORY_BYTES = 6 << 30
SLOW_CPU_SECONDS = 3.0
ODD: tuple[Any, ...] = (None, True, -1, 1e308, 10**40, "", "\ud800", "\0", [], {}, [[]], "[" * 5000, "é" * 100)
HOSTILE = (
    b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x04r\xff\xff\xff\x7f.",
    b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
    b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
    b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    b"\x94" * 100_000 + b".",
)


def outcome(scheme: str, line: bytes) -> str:
    """`question` or `refused`; anything else is raised."""
    source = collection.SOURCES[scheme]
    message = ""
    try:
        found = parsed(line, "row 0")
        question_id = source.question_id(found)
        source.facts(found)
        if question_id.isprintable():
            _divided(checked(source.problem(found, f"{scheme}:{question_id[:80]}")))
            return "question"
    except ProblemError as error:
        message = str(error)
    assert message.isprintable(), f"not one line of plain text: {message!r}"
    return "refused"


def _divided(question: Problem) -> None:
    sides = split(question, "half", 0)
    assert sorted(sides.visible + sides.hidden) == list(range(len(question.cases)))


def judged(scheme: str, line: bytes) -> str:
    started = time.process_time()  # wall time would tell of the neighbours
    found = outcome(scheme, line)
    seconds = time.process_time() - started
    assert seconds < SLOW_CPU_SECONDS, f"took {seconds:.1f} s"
    return found


def mutated(line: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return noisy(line, rng)
    try:
        found = json.loads(line)
    except ValueError:
        return noisy(line, rng)
    if not isinstance(found, dict):
        return noisy(line, rng)
    if kind == 1 or "private_test_cases" not in found:
        key = rng.choice([*found, "unknown"])
        old = found.get(key)
        again = noisy(old.encode("utf-8", "replace"), rng).decode("latin-1") if isinstance(old, str) else None
        found[key] = rng.choice([*ODD, again, json.dumps(rng.choice(ODD)), [old], {"input": old, "output": old}])
    else:
        found["private_test_cases"] = packed_badly(found["private_test_cases"], rng)
    return json.dumps(found).encode()


def packed_badly(blob: object, rng: random.Random) -> str:
    """The private tests again, with one of their four layers broken."""
    tests = [{"input": "1", "output": rng.choice(ODD), "testtype": rng.choice(["stdin", "functional", 3])}]
    text = rng.choice([json.dumps(tests), json.dumps(rng.choice(ODD)), "[" * rng.randrange(9999), "null"])
    layer = rng.randrange(5)
    if isinstance(blob, str) and rng.random() < 0.5:
        try:
            text = livecodebench.pickled_text(zlib.decompress(base64.b64decode(blob)))
        except (ValueError, zlib.error):
            layer = 4
    plain = noisy(text.encode("utf-8", "replace"), rng).decode("latin-1") if layer == 0 else text
    pickled = pickle.dumps(rng.choice([plain, [plain], (plain,)]) if layer == 1 else plain, rng.randrange(6))
    if layer == 1:
        pickled = rng.choice([pickled, noisy(pickled, rng), rng.choice(HOSTILE)])
    squeezed = zlib.compress(bytes(64 << 20), 9) if rng.random() < 0.001 else zlib.compress(pickled)
    squeezed = noisy(squeezed, rng) if layer == 2 else squeezed
    coded = base64.b64encode(squeezed)
    return (noisy(coded, rng) if layer == 3 else coded).decode("latin-1")


def noisy(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice([0, 1, 1, 4, 64]))
        noise = rng.choice(
            [b"", rng.randbytes(1), rng.randbytes(4), b'"', b"\\", b"{", b"[", bytes(changed[start:end]) * 3]
        )
        changed[start:end] = noise
    return bytes(changed)


def seeds(path: Path) -> list[tuple[str, bytes]]:
    little = [("lcb", row()), ("humaneval", humaneval_row()), ("mbpp", mbpp_row()), ("codeforces", codeforces_row())]
    found = [(scheme, json.dumps(fields).encode()) for scheme, fields in little]
    real = path.read_bytes().splitlines() if path.is_file() else []
    return found + [("lcb", line) for line in real if len(line) < 20_000]


def fuzz(path: Path, seconds: float, seed: int) -> Counter[str]:
    """How many rows of each source ended how; raises at a finding, after printing it."""
    rng = random.Random(seed)
    pool = seeds(path)
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scheme, line = rng.choice(pool[:4]) if rng.random() < 0.5 else rng.choice(pool)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            line = mutated(line, rng)
        try:
            counts[f"{scheme} {judged(scheme, line)}"] += 1
        except BaseException:
            print(f"{scheme}: {line[:4000]!r}", file=sys.stderr)
            raise
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=ROWS)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts = fuzz(given.rows, given.seconds, given.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{counts.total()} rows in {given.seconds} s, peak memory {peak} MiB: {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main()
