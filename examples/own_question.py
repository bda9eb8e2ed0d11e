"""A question of your own, watched while it runs, and its adapter afterwards."""

import ttsd

double = ttsd.question(
    "# Change of a number\n\nRead a name and a number n, one on each line.\nred: subtract 1\n",
    name="change",
    cases=[("red\n4\n", "3\n"), ("red\n-3\n", "-4\n"), ("red\n0\n", "-1\n")],
)
config = ttsd.load_config("micro", ["model.sampler=transformers", "budget.attempts=8"])

if __name__ == "__main__":
    for event in ttsd.events(double, config):
        match event:
            case ttsd.Attempt(number=number, verdict=verdict):
                print(f"attempt {number}: {verdict.status}, {verdict.visible_passed} of {verdict.visible_total}")
            case ttsd.Step(number=number, metrics=metrics):
                print(f"step {number}: loss {metrics.get('loss', float('nan')):.3f}")
    run = ttsd.read_record().runs.iloc[-1]
    print(f"run {run.run}: {run.status}")
