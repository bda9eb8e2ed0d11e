"""A list of questions of the bundled suite that no choice saw, or of fresh tuning questions: seeds are free.

    python -m tests.bench.fresh_questions --rules 5 --count 100 [--part test] [--seed 200001] > fresh5.toml
    ttsd batch fresh5.toml --methods all -c micro --set store.path=fresh5.sqlite

Each question's part comes from a hash of what its right program does, so a range of seeds has questions of all parts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import count, islice

from problems.micro import named
from problems.micro.families import FAMILIES


def names(rules: int, part: str, first_seed: int) -> Iterator[str]:
    """Names of questions of `part`, by seed and then by family."""
    for seed in count(first_seed):
        for family in FAMILIES:
            if named(f"{family}:{rules}:{seed}").part == part:
                yield f"micro:{family}:{rules}:{seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rules", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--part", choices=["tuning", "test"], default="test")
    parser.add_argument("--seed", type=int, default=200001, help="the first one")
    given = parser.parse_args()
    print("questions =", json.dumps(list(islice(names(given.rules, given.part, given.seed), given.count))))


if __name__ == "__main__":
    main()
