"""Asks `ttsd solve`, `batch` and `probe` to stop at random moments, starts them again, and checks the record each time.

    python -m tests.bench.stop_many [--stops 30] [--vllm-stops 8] [--seed 0] [--folder DIR]

SIGTERM goes to the whole process group, as `timeout`, schedulers and `docker stop` send it (each fifth time SIGINT, as
Ctrl-C). Each time the command must say one sentence and end with 143 (130), and the record must be as `kill_many`
demands it; at the end the commands run to their end, with every attempt once.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
from pathlib import Path

from tests.bench.kill_many import scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stops", type=int, default=30)
    parser.add_argument("--vllm-stops", type=int, default=8, help="of these, with vLLM; the others with transformers")
    parser.add_argument("--budget", type=int, default=400, help="attempts of each run")
    parser.add_argument("--spread", type=float, default=4.0, help="seconds after the first new attempt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ttsd-stops-"))
    chance = random.Random(options.seed)
    print(f"in {folder}")
    for sampler, stops in (("transformers", options.stops - options.vllm_stops), ("vllm", options.vllm_stops)):
        three = scenes(folder, sampler, options.budget)
        for number in range(stops):
            scene = three[number % 3]
            seconds = scene.stop(chance.random(), options.spread, signal.SIGINT if number % 5 == 4 else signal.SIGTERM)
            print(
                f"{sampler} stop {number + 1} ({scene.folder.name}): {seconds:.1f} s, "
                f"{len(scene.attempts)} attempts, {dict(scene.phases)}",
                flush=True,
            )
        for scene in three[: min(stops, 3)]:
            scene.finish()
            print(f"{scene.folder.name}: finished with {len(scene.attempts)} attempts", flush=True)


if __name__ == "__main__":
    main()
