"""Two methods on one question, with the same budget, side by side in one run database."""

import ttsd

QUESTION = "micro:numbers:2:3"
config = ttsd.load_config("micro", ["model.sampler=transformers", "budget.attempts=8"])

if __name__ == "__main__":
    for method in ("best-of-k", "multi-turn"):
        answer = ttsd.solve(QUESTION, config, method=method)
        print(f"{method}: discovery at {answer.discovery_attempt} of {answer.attempts} attempts")
