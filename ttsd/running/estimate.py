"""What runs will cost: attempts, time, tokens and memory, known before the first attempt.

Attempts: the budget at most; fewer by what the chance of one guess is known to be. What an attempt takes: what the
record's attempts took that the same method made with the same model under the same limits; where there are none, the
arithmetic of `ttsd doctor --plan` on what is known of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from problems.micro import p_solve
from ttsd.config import BUNDLED_MODEL, Config
from ttsd.errors import UserError
from ttsd.machine.cards import Card
from ttsd.machine.lengths import usual_lengths
from ttsd.machine.memory import Found, Memory, found_memory, memory_of
from ttsd.machine.shape import Shape
from ttsd.machine.step_plan import plan
from ttsd.machine.step_time import Span
from ttsd.methods import BEST_OF_K, Method
from ttsd.record.protocol import Spent
from ttsd.record.store import Store
from ttsd.running.budget import amount, duration
from ttsd.running.readings import group_size_of, teaching
from ttsd.sampling.background import beside

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer
    from ttsd.running.tasks import Task

# A learning or conversing run is expected to take between this share of best-of-k's mean attempts and all of them.
LUCKY = 0.25
_SHORT = 0.125  # of sampling.max_tokens: completions of a model that nothing is known of, on average, at the shortest
UNSPENT = Spent(0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """What an attempt takes of the engine, at least and at most (`seconds` None: unknown), and how that is known."""

    seconds: Span | None
    tokens: Span  # read and written
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What runs have before them, from the least to the most."""

    runs: int
    attempts: Span
    seconds: Span | None
    tokens: Span

    def __add__(self, other: Cost) -> Cost:
        seconds = None if self.seconds is None or other.seconds is None else self.seconds + other.seconds
        return Cost(self.runs + other.runs, self.attempts + other.attempts, seconds, self.tokens + other.tokens)

    def __str__(self) -> str:
        runs = "" if self.runs == 1 else f"{self.runs} runs, "
        time = "an unknown time" if self.seconds is None else lasting(self.seconds)
        attempts = " to ".join(dict.fromkeys(f"{most:.0f}" for most in (self.attempts.low, self.attempts.high)))
        tokens = " to ".join(dict.fromkeys(amount(most) for most in (self.tokens.low, self.tokens.high)))
        return f"{runs}{attempts} attempts, {time}, {tokens} tokens"


NOTHING = Cost(0, Span(0.0, 0.0), Span(0.0, 0.0), Span(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What runs cost until their end, by what that is known, and the memory they take."""

    cost: Cost
    sources: tuple[str, ...]
    memory: str

    def __str__(self) -> str:
        return f"estimate: {self.cost} ({'; '.join(self.sources)})\nmemory: {self.memory}"


async def announcement(
    tasks: Sequence[Task], config: Config, store: Store, tokenizer: Tokenizer, *, at_once: int = 1
) -> str:
    """What is said before a run. A model that no plan can be made for is no reason not to begin."""
    try:
        return str(await estimate(tasks, config, store, tokenizer, at_once=at_once))
    except UserError as error:
        return f"no estimate: {error}"


async def estimate(
    tasks: Sequence[Task], config: Config, store: Store, tokenizer: Tokenizer, *, at_once: int = 1
) -> Estimate:
    """Of `tasks`, of which `at_once` share one engine."""
    models = {task.wanted.job.method: _recorded(store, task.wanted.job.kind, config) for task in tasks}
    chances = {name: chance(store, name, config.model.path) for name in {task.wanted.job.question for task in tasks}}
    spent = [store.spent(task.resumed["run"]) if task.resumed else UNSPENT for task in tasks]
    length = _recorded_length(store, config)
    machine = await beside(Machine.here, config, at_once, length)
    cost, sources = NOTHING, dict[str, None]()
    for task, used in zip(tasks, spent, strict=True):
        job, own = task.wanted.job, task.wanted.config
        pace = models[job.method] or machine.pace(job.kind, own, len(teaching(task.problem, tokenizer, own).prompt_ids))
        sources[pace.source] = None
        cost += cost_of(own, used, chances[job.question], pace)
    return Estimate(cost, tuple(sources), machine.memory(config, [task.wanted.job.kind for task in tasks]))


def cost_of(config: Config, spent: Spent, p: float | None, pace: Pace) -> Cost:
    """Of one run, by the chance `p` of one guess; whichever of its budgets is spent first ends it."""
    budget, each = config.budget, pace.seconds
    left = float(budget.attempts - spent.attempts)
    seconds_left = None if budget.seconds is None else max(0.0, budget.seconds - spent.seconds)
    tokens_left = None if budget.tokens is None else max(0.0, float(budget.tokens - spent.tokens))
    if seconds_left is not None and each is not None:
        left = min(left, seconds_left / max(each.low, 1e-9))
    if tokens_left is not None:
        left = min(left, tokens_left / max(pace.tokens.low, 1.0))
    attempts = Span(*expected(config, max(left, 0.0), p))
    seconds = None if each is None else _at_most(_product(attempts, each), seconds_left)
    return Cost(1, attempts, seconds, _at_most(_product(attempts, pace.tokens), tokens_left))


def expected(config: Config, left: float, p: float | None) -> tuple[float, float]:
    """How many of the attempts that are `left` a run will make, by the chance `p` of one guess (None: unknown)."""
    if config.budget.continue_after_discovery:
        return left, left
    if p is None:
        return min(float(config.sampling.group_size), left), left
    guessing = (1 - (1 - p) ** left) / p if p else left
    return LUCKY * guessing, guessing


def chance(store: Store, question: str, model: str) -> float | None:
    """The chance that one guess of `model` solves `question`: published for the bundled one, else as recorded."""
    if model == BUNDLED_MODEL and (published := p_solve(question)) is not None:
        return published
    sql = """select count(*), coalesce(sum(discovered), 0) from attempts
        join runs using (run) where question = ? and method = ? and model = ? and verdict != 'aborted'"""
    ((attempts, successes),) = store.query(sql, [question, BEST_OF_K.name, model])
    return successes / attempts if successes else None


def lasting(seconds: Span) -> str:
    """As in `40 s to 12 min`."""
    return " to ".join(dict.fromkeys((duration(seconds.low), duration(seconds.high))))


# How recorded runs are told that are like one of these settings. A record of before cores were noted is this machine's.
_ALIKE = """model = ? and json_extract(config, '$.model.sampler') = ?
    and json_extract(config, '$.sampling.max_tokens') = ? and json_extract(config, '$.sampling.group_size') = ?
    and coalesce(json_extract(environment, '$.cores'), ?) = ?"""


def _alike(config: Config) -> list[Any]:
    model, sampling, cores = config.model, config.sampling, str(len(os.sched_getaffinity(0)))
    return [model.path, model.sampler, sampling.max_tokens, sampling.group_size, cores, cores]


def _recorded(store: Store, method: Method, config: Config) -> Pace | None:
    """What an attempt of `method` took in this record; None: it has no such step.

    Of the step in the middle: the first ones after a start warm the kernels up. Shares of sampler, judge and trainer
    overlap in part, so a step took more than the longest of them and less than all. Records of before there were shares
    have the seconds of whole steps.
    """
    shares = ", ".join(f"json_extract(seconds, '$.{name}')" for name in ("sample", "judge", "train", "swap"))
    whole = "json_extract(seconds, '$.draw') + json_extract(seconds, '$.distil')"
    steps = store.query(
        f"select attempts, {whole}, {shares} from steps join runs using (run) where method = ? and {_ALIKE}",
        [method.name, *_alike(config)],
    )
    ((tokens,),) = store.query(
        f"""select avg(prompt_tokens + completion_tokens) from attempts join runs using (run)
        where verdict != 'aborted' and method = ? and {_ALIKE}""",
        [method.name, *_alike(config)],
    )
    if not steps or not tokens:
        return None
    known = [(made, [part for part in parts if part] or [alone]) for made, alone, *parts in steps]
    low, high = (median(of(parts) / made for made, parts in known) for of in (max, sum))
    source = f"as {sum(made for made, _ in known)} attempts of {method.name} in this record"
    return Pace(Span(low, high), Span(tokens, tokens), source)


def _recorded_length(store: Store, config: Config) -> float | None:
    """Tokens of a completion on average, in this record, of any method; None: it has none of this model."""
    ((tokens,),) = store.query(
        f"select avg(completion_tokens) from attempts join runs using (run) where verdict != 'aborted' and {_ALIKE}",
        _alike(config),
    )
    return None if tokens is None else float(tokens)


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine and the model on it, to compute with. `completion`: tokens of one on average, at least and at most.

    `card` None: nothing is known of its speed.
    """

    found: Found
    card: Card | None
    sizes: Mapping[str, Any]
    at_once: int
    completion: Span

    @classmethod
    def here(cls, config: Config, at_once: int, length: float | None) -> Machine:
        from ttsd.backbone import model_sizes, resolve

        found, limit = found_memory(config.model), float(config.sampling.max_tokens)
        completion = Span(_SHORT * limit, limit) if length is None else Span(length, length)
        return cls(found, found.as_fast_card(), model_sizes(resolve(config.model.path)), at_once, completion)

    def pace(self, method: Method, config: Config, prompt: int) -> Pace:
        """What an attempt of `method` takes by the arithmetic of `ttsd doctor --plan`."""
        group = group_size_of(method, config)
        config = config.model_copy(update={"sampling": config.sampling.model_copy(update={"group_size": group})})
        low, high = max(1, round(self.completion.low)), max(1, round(self.completion.high))
        reads_more = method.converses or (method.taught and config.sampling.teacher_fraction > 0)
        longest = max(prompt, usual_lengths(config, high).reprompt) if reads_more else prompt
        tokens = Span(prompt + self.completion.low, longest + self.completion.high)
        if self.card is None:
            return Pace(None, tokens, "the first step will tell the time: nothing is known of this card's speed")
        source = "computed for " + (f"{len(os.sched_getaffinity(0))} cores" if self.card.is_cpu else self.found.name)
        least, most = (self._step(method, config, length) for length in (low, high))
        attempts = self.at_once * group
        return Pace(Span(least.low / attempts, most.high / attempts), tokens, source)

    def _step(self, method: Method, config: Config, completion: int) -> Span:
        """Seconds of a step of each run that shares the engine."""
        assert self.card is not None
        made = plan(config, self.sizes, self.card, questions=self.at_once, completion_tokens=completion)
        if method.learns:
            return made.wall_seconds
        return made.decode_seconds + next(part.seconds for part in made.time if part.what == "judge")

    def memory(self, config: Config, methods: Iterable[Method]) -> str:
        """Of all that share the engine; without a method that learns there is no trainer."""
        shape, card = Shape.read(self.sizes), self.found.as_card()
        made = memory_of(config, shape, card, questions=self.at_once)
        if any(method.learns for method in methods):
            return made.in_words(self.found)
        kept = ("base weights", "process") if config.model.sampler == "transformers" else ()
        parts = tuple(part for part in made.parts if part.where == "sampler" or part.what in kept)
        return Memory(parts, made.limits).in_words(self.found)


def _product(one: Span, other: Span) -> Span:
    return Span(one.low * other.low, one.high * other.high)


def _at_most(span: Span, limit: float | None) -> Span:
    return span if limit is None else Span(min(span.low, limit), min(span.high, limit))
