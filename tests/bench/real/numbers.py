"""Keeps the numbers of a record and leaves out its texts: small enough to go with the sources.

    python -m tests.bench.real.numbers evidence/test.sqlite numbers.sqlite.xz     # keep
    python -m tests.bench.real.numbers numbers.sqlite.xz evidence/test.sqlite     # take up again

Tables and reports are made from the numbers, and `ttsd evidence` repeats no run that has come to its end. Unfinished
runs that learn are left out, since their weights are not here; chains keep the feedback that they read, and go on.
"""

import lzma
import sqlite3
import sys
import tempfile
from pathlib import Path

LOST = "select run from runs where ended is null and method in ('sdpo', 'grpo')"
LEAVE_OUT = (
    f"delete from attempts where run in ({LOST})",
    f"delete from steps where run in ({LOST})",
    f"delete from runs where run in ({LOST})",
    "delete from token_gains",
    "update attempts set completion = '', program = null, token_ids = x'', logprobs = x''",
    "update attempts set feedback = '' where run in (select run from runs where ended is not null)",
    "update attempts set sample_seconds = round(sample_seconds, 2), judge_seconds = round(judge_seconds, 3), "
    "mean_logprob = round(mean_logprob, 3), min_logprob = round(min_logprob, 2)",
    "update steps set metrics = '{}' where run not in (select run from runs where method in ('sdpo', 'grpo'))",
    "update runs set program = null",
    "vacuum",
)


def keep(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.sqlite"
        with sqlite3.connect(source) as record, sqlite3.connect(copy) as numbers:
            record.backup(numbers)
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
