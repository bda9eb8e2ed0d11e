"""Keeps the numbers of a run database and leaves out its texts: small enough to go with the sources.

    python -m tests.bench.real.numbers evidence/test.sqlite numbers.sqlite.xz     # keep
    python -m tests.bench.real.numbers numbers.sqlite.xz evidence/test.sqlite     # take up again

Tables and reports are made from the numbers, and `ttsd batch` repeats no run that has come to its end. Unfinished runs
that learn are left out, since their weights are not here; the others keep their feedback and can be resumed.
"""

import lzma
import sqlite3
import sys
import tempfile
import zlib
from pathlib import Path

EMPTY = zlib.compress(b"").hex()
LOST = "select run from runs where ended is null and method not in ('best-of-k', 'multi-turn')"
LEAVE_OUT = (
    f"delete from examples where run in ({LOST})",
    f"delete from attempts where run in ({LOST})",
    f"delete from steps where run in ({LOST})",
    f"delete from runs where run in ({LOST})",
    "update examples set token_advantages = null",
    f"update prompts set text = x'{EMPTY}', token_ids = x'{EMPTY}'",
    "update attempts set completion = '', program = null, token_ids = x'', logprobs = x''",
    "update attempts set feedback = '' where run in (select run from runs where ended is not null)",
    "update attempts set sample_seconds = round(sample_seconds, 2), judge_seconds = round(judge_seconds, 3), "
    "mean_logprob = round(mean_logprob, 3), min_logprob = round(min_logprob, 2)",
    "update steps set metrics = '{}' where run in (select run from runs where method in ('best-of-k', 'multi-turn'))",
    "update runs set program = null",
    "vacuum",
)


def keep(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.sqlite"
        with sqlite3.connect(source) as whole, sqlite3.connect(copy) as numbers:
            whole.backup(numbers)
        numbers = sqlite3.connect(copy, isolation_level=None)
        for statement in LEAVE_OUT:
            numbers.execute(statement)
        numbers.close()
        target.write_bytes(lzma.compress(copy.read_bytes(), preset=9))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    if source.suffix == ".xz":
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(lzma.decompress(source.read_bytes()))
    else:
        keep(source, target)
    print(f"{target.stat().st_size:,} bytes")
