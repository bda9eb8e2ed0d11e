"""The run database as tables: what passed, step by step."""

import ttsd

if __name__ == "__main__":
    frames = ttsd.read_record("ttsd.sqlite")
    attempts = frames.attempts
    attempts["share"] = attempts.visible_passed / attempts.visible_total
    print(frames.runs[["run", "question", "method", "status", "config.lora.lr"]].to_string(index=False))
    print(attempts.groupby(["run", "step"]).share.agg(["mean", "max"]).round(2).to_string())
    learnt = frames.steps[frames.steps.loss.notna()]
    print(learnt[["run", "step", "loss", "adapter_version"]].to_string(index=False))
