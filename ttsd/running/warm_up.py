"""`ttsd warm-up`: one adapter per model that teaches it to use feedback, for all later questions (`lora.init`).

It samples attempts with best-of-k, makes pairs of them (`pairs`), trains cross-entropy on the completions, and probes
held-out questions before and after. Attempts are runs in the run database. The plan (questions, settings and pairs) and
the learner's state are in a folder next to the adapter until that is finished; so the same command resumes anywhere.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import problems
from problems.alike import families, without
from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.methods import METHODS
from ttsd.nouns import Attempt, Problem
from ttsd.record.run import adapter_digest
from ttsd.record.store import Store
from ttsd.running.batch import Overview, batch, planned
from ttsd.running.engine import load_tokenizer
from ttsd.running.hardness import Measured
from ttsd.running.pairs import Pair, Source, pairs_of
from ttsd.running.probe import PLAIN, Probe, probe
from ttsd.running.references import references
from ttsd.sampling.background import in_thread
from ttsd.sampling.plain_text import PlainText

if TYPE_CHECKING:
    from ttsd.training.trainer import Trainer

NAME = "warm-up"
RECORD = "warm_up.json"  # in the adapter's folder
BATCH = 8  # pairs of a gradient step
SAVED_EVERY = 5  # steps


@dataclass(frozen=True, slots=True)
class Options:
    """How much is sampled, learned and checked. `check`: attempts on a held-out question with each kind of prompt."""

    attempts: int = 8
    pairs: int = 1000
    lr: float = 1e-4
    held_out: int = 40
    check: int = 8
    seconds: float | None = None
    licence: str = "unknown"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The adapter's folder, its record, and what was found on the held-out questions before and after."""

    folder: Path
    record: dict[str, Any]
    before: list[Measured]
    after: list[Measured]


async def warm_up(
    names: Sequence[str],
    excluded: Sequence[str],
    config: Config,
    options: Options,
    out: Path,
    *,
    runs_at_once: int | None,
    overview: Overview,
) -> WarmUp:
    """Makes the adapter `out`, or resumes where it was stopped.

    UserError: too few questions, or `out` was made or begun under other settings.
    """
    tokenizer = load_tokenizer(config)
    if isinstance(tokenizer, PlainText):
        raise UserError(
            f"warm-up trains the model, and the one at {config.model.path} can only be asked; choose another"
        )
    training, held_out = divided(names, excluded, options.held_out)
    overview.say(f"{len(training)} questions to learn from, {len(held_out)} held out, {len(excluded)} excluded")
    facts = _facts(training, held_out, excluded, config, options)
    work = out.with_name(f"{out.name}.begun")
    record = _same(out / RECORD, facts, f"--out {out}")
    if record is None and out.exists():
        raise UserError(f"--out {str(out)!r} exists and is no adapter of `ttsd warm-up`; name a new folder")
    if record is None and _same(work / RECORD, facts, str(work)) is None:
        sources = await _sampled(training, config, options, runs_at_once, overview)
        made = pairs_of(sources, tokenizer, config, options.pairs)
        _check_enough(made)
        _write_plan(work, facts, made, sources)

    async def checked(of: Config) -> Probe:
        number = options.check
        return await probe(
            held_out, of, samples=number, feedback_samples=number, runs_at_once=runs_at_once, overview=overview
        )

    if record is None:
        await _learn(work, out, config, options, overview)
    before = await checked(config)
    after = await checked(config.changed("lora", init=str(out)))
    if failures := [*before.failures, *after.failures]:
        raise InfrastructureError(f"{failures[0].run} failed: {failures[0].error}; the same command tries again")
    found = json.loads((out / RECORD).read_text("utf-8"))
    return WarmUp(out, found, before.measured, after.measured)


def divided(names: Sequence[str], excluded: Collection[str], held_out: int) -> tuple[list[Problem], list[str]]:
    """Divides questions into those to learn from and the names of others to check with: `held_out`, or a quarter.

    Families of questions that are alike stay together, and questions that are alike to an excluded one are left out.
    UserError: too few are left.
    """
    kept_out = [problems.load(name) for name in excluded]
    groups = families(without([problems.load(name) for name in names], kept_out))
    Random(0).shuffle(groups)
    most = min(held_out, sum(map(len, groups)) // 4)
    training, checking = list[Problem](), list[Problem]()
    for group in groups:
        (checking if len(checking) + len(group) <= most else training).extend(group)
    if not training or not checking:
        raise UserError(
            f"{len(training)} questions to learn from and {len(checking)} to check with are too few (of {len(names)}, "
            f"{len(groups)} families of questions that are not alike); give more questions"
        )
    if without(training, [*checking, *kept_out]) != training:
        raise InfrastructureError("a question to learn from is alike to one to check with; report this")
    return training, [problem.name for problem in checking]


def _facts(
    training: Sequence[Problem], held_out: Sequence[str], excluded: Sequence[str], config: Config, options: Options
) -> dict[str, Any]:
    """Returns all that a resumed warm-up must agree on."""
    lora = config.lora
    facts = {
        "model": config.model.path,
        "questions": [problem.name for problem in training],
        "checked_with": list(held_out),
        "excluded": list(excluded),
        **asdict(options),
        "lora": lora.model_dump(exclude={"init", "lr"}),
        "init": lora.init and adapter_digest(lora.init),
    }
    return {name: value for name, value in facts.items() if name != "seconds"}


def _same(file: Path, facts: dict[str, Any], what: str) -> dict[str, Any] | None:
    """Returns a record that has these `facts`; None: there is none. UserError: it has other ones."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    changed = [name for name, value in facts.items() if found.get(name) != value]
    if changed:
        raise UserError(f"{what} was made with other settings ({', '.join(changed)}); name another --out, or remove it")
    return found


async def _sampled(
    training: Sequence[Problem], config: Config, options: Options, runs_at_once: int | None, overview: Overview
) -> list[Source]:
    """Samples until each question has its attempts, those of earlier runs included; returns them."""
    known = _attempts(config)
    missing = [one.name for one in training if len(known.get(one.name, ())) < options.attempts]
    if missing:
        runs = planned(missing, [METHODS[PLAIN]], 1, config.changed("budget", attempts=options.attempts))
        results = await batch(runs, config, runs_at_once=runs_at_once, overview=overview)
        if results.failures:
            failure = results.failures[0]
            raise InfrastructureError(f"{failure.run} failed: {failure.error}; the same command tries again")
        known = _attempts(config)
    sources = [Source(one, known.get(one.name, ())) for one in training]
    lacking = [source.problem for source in sources if source.failed and not source.successes]
    others = {name: program async for name, program in references(lacking, config)}
    overview.say(f"{len(lacking)} questions have no success of the model's own, {len(others)} of them a reference")
    return [Source(one.problem, one.attempts, others.get(one.problem.name)) for one in sources]


def _attempts(config: Config) -> dict[str, list[Attempt]]:
    """Returns the attempts of this model's best-of-k runs in the run database, by question."""
    if not Path(config.store.path).exists():
        return {}
    found: dict[str, list[Attempt]] = {}
    with Store.read_only(config.store.path, config.store.state_dir) as store:
        for row in store.runs():
            same = row["model"] == config.model.path and row["config"]["lora"].get("init") == config.lora.init
            if same and row["method"] == PLAIN:
                found.setdefault(row["question"], []).extend(store.attempts(row["run"]))
    return found


def _check_enough(made: Sequence[Pair]) -> None:
    if len(made) < BATCH:
        raise UserError(
            f"{len(made)} pairs are too few to learn from: no question has both a wrong attempt with feedback and a "
            "right program; give more questions, raise --attempts, or take a larger model"
        )


def _write_plan(work: Path, facts: dict[str, Any], made: Sequence[Pair], sources: Sequence[Source]) -> None:
    from ttsd.backbone import replacing

    own = {source.problem.name for source in sources if source.successes}
    made_of = {
        "pairs_by_kind": Counter(pair.kind for pair in made),
        "pairs_with_own_success": sum(pair.question in own for pair in made),
        "questions_with_pairs": sorted({pair.question for pair in made}),
    }
    with replacing(work) as draft:
        (draft / "pairs.json").write_text(json.dumps([asdict(pair) for pair in made]), "utf-8")
        (draft / RECORD).write_text(json.dumps({**facts, **made_of}), "utf-8")


async def _learn(work: Path, out: Path, config: Config, options: Options, overview: Overview) -> None:
    """Trains on the pairs of the plan in `work`, and puts the adapter in its place."""
    from ttsd.backbone import check_loads, resolve

    record = json.loads((work / RECORD).read_text("utf-8"))
    pairs = [
        (tuple(pair["prompt_ids"]), tuple(pair["completion_ids"]))
        for pair in json.loads((work / "pairs.json").read_text("utf-8"))
    ]
    path = resolve(config.model.path, config.model.revision)
    trainer = await in_thread(cross_entropy_trainer, path, config)
    steps, loss = await take_steps(trainer, pairs, work, options, overview)
    draft = work / "adapter"
    await in_thread(trainer.export, NAME, draft)
    check_loads(draft, path)
    (draft / RECORD).write_text(json.dumps({**record, "steps": steps, "last_loss": loss}, indent=1), "utf-8")
    draft.rename(out)
    shutil.rmtree(work)


def cross_entropy_trainer(path: str, config: Config) -> Trainer:
    """Loads the base for cross-entropy: no self-teacher, and no importance weights, as nothing was sampled."""
    from ttsd.backbone import cpu_threads
    from ttsd.training.trainer import Trainer

    config = config.changed("distillation", rollout_is_threshold=None).changed("teacher", teacher_regularization="live")
    return Trainer(path, config, threads=cpu_threads(config.model.threads, alone=True))


async def take_steps(
    trainer: Trainer,
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    work: Path,
    options: Options,
    overview: Overview,
) -> tuple[int, float | None]:
    """Takes the steps that are left, at a rate that falls to zero; returns their number and the last loss."""
    order = Random(0).sample(pairs, len(pairs))
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    saved = max(work.glob("step-*"), key=_number, default=None)
    done, begun = _number(saved) if saved else 0, time.monotonic()
    loss: float | None = None
    await in_thread(trainer.load, NAME, saved) if saved else await in_thread(trainer.create, NAME, 0)
    for step in range(done, len(batches)):
        seconds = time.monotonic() - begun
        if options.seconds is not None and seconds > options.seconds:
            overview.say(f"the time is spent after {step} of {len(batches)} steps")
            return step, loss
        loss = await in_thread(trainer.imitate, NAME, batches[step], options.lr * (1 - step / len(batches)))
        left = (time.monotonic() - begun) / (step + 1 - done) * (len(batches) - step - 1)
        overview.say(f"step {step + 1}/{len(batches)} | loss {loss:.3f} | about {left / 60:.0f} min left")
        if (step + 1) % SAVED_EVERY == 0:
            (await in_thread(trainer.snapshot, NAME)).write(work / f"step-{step + 1}")
            shutil.rmtree(work / f"step-{step + 1 - SAVED_EVERY}", ignore_errors=True)
    return len(batches), loss


def _number(state: Path) -> int:
    return int(state.name.partition("-")[2])
