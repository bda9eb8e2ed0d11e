"""What `--dry-run` shows: the memory, and the prompts that the runs answer next. Nothing starts, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ttsd.config import Config
from ttsd.loop import Group
from ttsd.methods import MethodOnQuestion
from ttsd.nouns import Prompt
from ttsd.prompts import ChatTokenizer, PromptWriter
from ttsd.record.protocol import Past
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.sampling.background import in_thread


@dataclass(frozen=True, slots=True)
class NextPrompt:
    """A prompt that the next attempts of some runs answer."""

    runs: tuple[str, ...]
    attempts: tuple[int, ...]  # of each of these runs
    tokens: int
    text: str

    def heading(self) -> str:
        """Says in one line which attempts these are."""
        first, last = self.attempts[0], self.attempts[-1]
        which = f"attempt {first}" if first == last else f"attempts {first} to {last}"
        return f"{which} of {', '.join(self.runs)}: {self.tokens} tokens"


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen. An empty `memory` says that nothing is left to do."""

    memory: str = ""
    prompts: tuple[NextPrompt, ...] = ()


async def preview(runs: Sequence[Run], config: Config, *, fresh: bool = False) -> Preview:
    """Returns what `solve` or `batch` would begin with."""
    path, states = Path(config.store.path), config.store.state_dir
    with TemporaryDirectory() as none, _opened(path, states, Path(none)) as store:
        left = [(run, Past()) for run in runs] if fresh else unfinished(store, runs)
        if not left:
            return Preview()
        tokenizer = await in_thread(load_tokenizer, config)
        memory = await announcement([run for run, _ in left], store)
        made: dict[tuple[str, tuple[int, ...]], tuple[list[str], Prompt]] = {}
        for run, past in left:
            for prompt, attempts in next_prompts(run, tokenizer, past).items():
                made.setdefault((prompt.hash, attempts), ([], prompt))[0].append(str(run))
    return Preview(
        memory,
        tuple(
            NextPrompt(tuple(names), attempts, len(prompt.token_ids), tokenizer.whole_text(prompt.token_ids))
            for (_, attempts), (names, prompt) in made.items()
        ),
    )


def _opened(path: Path, states: str | None, none: Path) -> Store:
    """Opens the run database to read it; where there is none, an empty one in the folder `none`."""
    return Store.read_only(path, states) if path.is_file() else Store(none / "empty.sqlite")


def unfinished(store: Store, runs: Sequence[Run]) -> list[tuple[Run, Past]]:
    """Returns the runs that have something left to do, each with where it stands."""
    rows = [(run, store.newest(run)) for run in runs]
    return [
        (run, store.past(row["run"]) if row else Past())
        for run, row in rows
        if row is None or not store.is_finished(row, run)
    ]


def next_prompts(run: Run, tokenizer: ChatTokenizer, past: Past) -> dict[Prompt, tuple[int, ...]]:
    """Returns the prompts that the run answers next, each with the numbers of the attempts that answer it."""
    method = MethodOnQuestion(run.method, PromptWriter(run.problem, tokenizer, run.config))
    rules, history = run.method.rules(run.config), past.history
    recorded = {attempt.number: attempt for attempt in past.begun}
    missing: dict[int, Prompt] = {}
    while not missing and len(history.attempts) < rules.budget:
        group = Group(history, rules, recorded)
        while not missing and not group.begun:
            missing = group.begin_round(method)
        history = history if missing else history.extended(group.attempts)
    prompts: dict[Prompt, tuple[int, ...]] = {}
    for number, prompt in missing.items():
        prompts[prompt] = (*prompts.get(prompt, ()), number)
    return prompts
