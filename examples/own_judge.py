"""A judge of your own: a score between 0 and 1, and the feedback that prompts show."""

import ttsd


def score(answer: str) -> tuple[float, str]:
    """The judge: it wants a short answer that prints something. It runs in a process of its own."""
    if "print" not in answer:
        return 0.0, "The program prints nothing."
    if len(answer) > 40:
        return 0.5, f"The program prints, but has {len(answer)} characters; 40 are enough."
    return 1.0, ""


short = ttsd.question("# Short\n\nPrint the number that you read, in a short program.\n", name="short", judge=score)
config = ttsd.load_config("micro", ["model.sampler=transformers", "budget.attempts=8"])

if __name__ == "__main__":
    answer = ttsd.solve(short, config)
    print(f"{answer.attempts} attempts, discovered: {answer.discovered}")
    print(answer.program or "no answer")
