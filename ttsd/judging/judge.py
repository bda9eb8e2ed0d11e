"""Judges programs on one question: runs them in the sandbox, compares here, says what a programmer may know.

Visible cases run first, in the question's order. A runtime error or an exceeded limit ends the judging, since it is
shown alone; after a wrong answer the other visible cases still run, because the shortest failures are shown and the
passed fraction is the progress signal. Hidden cases run only when every visible one passed, until the first failure;
a verdict says no more of them than how the program failed and where.

Where the steps run, since an attempt can hold anything and everybody shares the event loop:

- event loop: finding the program or the answer (extract.py), comparing output with what was expected (same_output.py;
  in a thread where it is long), shortening tracebacks and output for feedback. Each is linear in what it reads, and
  what it reads is cut first: output to a multiple of the expected one, tracebacks to 16 KiB, shown output to what is
  shown.
- sandbox: the program, from its compilation on, under its limits. It never sees an expected output. Afterwards, and
  apart from it, a checker that came with the question (checking.py).
- scorer (scoring/): comparing final answers, and judges and checkers of the user's own, in processes of their own.

No more cases run than verdict and feedback need: an exceeded limit ends the judging, all cases share the sandbox's
budget of idle time, and after a wrong answer the other visible cases share the CPU time of one. Where cases have
points, every visible case runs whose group can still earn some.

Not supported: programs that are right at random: each is judged once. A `SandboxFault` is passed on: it is neither a
pass nor a failure of the program.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from problems.problem import Problem, ProblemError, Split
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from ttsd.judging.answer_judge import AnswerJudge, scorer_spec
from ttsd.judging.checking import BuiltInCheck, Check, Runner, compared, open_check
from ttsd.judging.extract import extract_program
from ttsd.judging.feedback import MAX_FIELD_CHARACTERS, NO_PROGRAM, TRUNCATED, clip, feedback_text
from ttsd.judging.points import can_still_earn, share_earned
from ttsd.judging.scoring import Score, open_scorer
from ttsd.nouns import CaseResult, Completion, Status, Verdict
from ttsd.terminal import readable

MAX_REMEMBERED = 1024
MAX_ERROR_CHARACTERS = 2 * MAX_FIELD_CHARACTERS
MAX_SHOWN_BYTES = 4 * MAX_FIELD_CHARACTERS
WALL_PER_CPU = 4.0
SOURCE_FILE = "solution.py"

_STATUS = {
    Ending.ERROR: Status.RUNTIME_ERROR,
    Ending.CPU_LIMIT: Status.TIME_LIMIT,
    Ending.WALL_LIMIT: Status.TIME_LIMIT,
    Ending.MEMORY_LIMIT: Status.MEMORY_LIMIT,
    Ending.OUTPUT_LIMIT: Status.OUTPUT_LIMIT,
}
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]*)", line \d+')
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


@dataclass(slots=True)
class _Judgement:
    """Holds a program being judged, or judged, and how many callers wait for it."""

    task: asyncio.Task[tuple[Verdict, tuple[CaseResult, ...]]]
    waiting: int = 0


class Judge:
    """Judges the programs of one question under one split.

    `limits` gives way to the question's own limits where it has any. `check` compares outputs; without one the
    question's built-in comparison does. With `shuffle_feedback` the feedback names the expected outputs of other
    visible cases; verdicts stay what they are.
    """

    def __init__(
        self,
        sandbox: Runner,
        problem: Problem,
        split: Split,
        *,
        limits: Limits = Limits(),  # noqa: B008
        check: Check | None = None,
        shuffle_feedback: bool = False,
    ) -> None:
        if not split.visible:
            raise ProblemError(f"{problem.name} has no visible case, so nothing could be learnt: choose another split")
        self._sandbox = sandbox
        self._problem = problem
        self._split = split
        self._visible = frozenset(split.visible)
        self._check = check or BuiltInCheck(problem.comparison, function=problem.entry_point is not None)
        self._shown = _shuffled(problem, split) if shuffle_feedback else problem
        self._signature = problem.signature
        self.limits = own_limits(problem, limits)
        self._judgements: OrderedDict[str, _Judgement] = OrderedDict()

    async def __call__(self, completion: Completion) -> tuple[str | None, Verdict]:
        """Returns the program found in `completion`, None where there is none, and its verdict."""
        truncated = completion.finish_reason == "length"
        source = extract_program(completion.text)
        if source is None:
            status, feedback = (Status.TRUNCATED, TRUNCATED) if truncated else (Status.NO_PROGRAM, NO_PROGRAM)
            return None, replace(self._summary([]), status=status, feedback=feedback)
        return source, await self.program(source, truncated=truncated)

    async def program(self, source: str, *, truncated: bool = False) -> Verdict:
        """Judges one program; equal sources are run once. Feedback on a failure says if it was `truncated`."""
        verdict, results = await self._judged_once(source)
        if self._shown is not self._problem:
            results = tuple(replace(result, message="") for result in results)
        return replace(verdict, feedback=feedback_text(self._shown, results, truncated=truncated))

    async def _judged_once(self, source: str) -> tuple[Verdict, tuple[CaseResult, ...]]:
        judgement = self._judgements.get(source)
        if judgement is None:
            judgement = self._judgements[source] = _Judgement(asyncio.create_task(self._run(source)))
        self._judgements.move_to_end(source)
        judgement.waiting += 1
        try:
            return await asyncio.shield(judgement.task)
        finally:
            judgement.waiting -= 1
            self._tidy(source, judgement)

    def _tidy(self, source: str, judgement: _Judgement) -> None:
        """Discards what failed, stops what nobody waits for any more, keeps the memory bounded."""
        task = judgement.task
        unwanted = not judgement.waiting and not task.done()
        if unwanted:
            task.cancel()
        failed = task.done() and (task.cancelled() or task.exception() is not None)
        if (unwanted or failed) and self._judgements.get(source) is judgement:
            del self._judgements[source]
        while len(self._judgements) > MAX_REMEMBERED:
            self._judgements.popitem(last=False)

    async def _run(self, source: str) -> tuple[Verdict, tuple[CaseResult, ...]]:
        program = Program(source, self._problem.entry_point, self._signature.arguments, self._signature.returns)
        visible, hidden = self._split.visible, self._split.hidden
        results: list[CaseResult] = []
        for part in (visible, hidden) if self._check.at_once else ((*visible, *hidden),):
            results = await self._judged(program, part, results)
        return self._summary(results), tuple(result for result in results if result.index in self._visible)

    async def _judged(self, program: Program, part: Sequence[int], before: Sequence[CaseResult]) -> list[CaseResult]:
        """Returns the results `before` and those of the cases in `part`, as far as they matter."""
        results, running = [*before], deque[int]()
        unchecked: list[tuple[int, bytes | None]] = []
        inputs = self._inputs(part, results, running)
        async with aclosing(self._sandbox.run(program, inputs, self.limits)) as outcomes:
            async for outcome in outcomes:
                index = running.popleft()
                result = case_result(index, outcome)
                output = outcome.stdout if program.entry_point is None else outcome.result
                if result.status is Status.ACCEPTED and self._check.at_once:
                    unchecked.append((len(results), output))
                elif result.status is Status.ACCEPTED:
                    (score,) = await self._check([self._problem.cases[index]], [output])
                    result = _checked(result, output, score)
                results.append(result)
        if missing := len(running) + sum(1 for _ in inputs):
            judged = len(results)
            raise SandboxFault(f"the sandbox ran {judged} of {judged + missing} cases and reported no failure")
        if unchecked:
            cases = [self._problem.cases[results[at].index] for at, _ in unchecked]
            scores = await self._check(cases, [output for _, output in unchecked])
            for (at, output), score in zip(unchecked, scores, strict=True):
                results[at] = _checked(results[at], output, score)
        return results

    def _inputs(self, part: Iterable[int], results: Sequence[CaseResult], running: deque[int]) -> Iterator[bytes]:
        """Yields the inputs of the cases in `part` as long as they matter; `running` gets the number of each."""
        for index in part:
            if self._settled(results, hidden=index not in self._visible):
                return
            if can_still_earn(self._problem.points, index, results):
                running.append(index)
                yield self._problem.cases[index].input.encode()

    def _settled(self, results: Sequence[CaseResult], *, hidden: bool) -> bool:
        """Tells whether the verdict can't change any more, and its feedback is worth no more work."""
        first = next((at for at, result in enumerate(results) if result.status is not Status.ACCEPTED), None)
        if first is None or hidden or self._problem.points:
            return first is not None and hidden
        if results[-1].status not in (Status.ACCEPTED, Status.WRONG_ANSWER):
            return True
        return sum(result.cpu_seconds for result in results[first + 1 :]) >= self.limits.cpu_seconds

    def _summary(self, results: Sequence[CaseResult]) -> Verdict:
        shown = [result for result in results if result.index in self._visible]
        first = next((result for result in results if result.status is not Status.ACCEPTED), None)
        return Verdict(
            Status.ACCEPTED if first is None else first.status,
            visible_passed=_passed(shown),
            visible_total=len(self._split.visible),
            hidden_passed=_passed(results) - _passed(shown),
            hidden_total=len(self._split.hidden),
            first_failure=None if first is None else first.index,
            cpu_seconds=sum(result.cpu_seconds for result in results),
            score=share_earned(self._problem, self._split.visible, shown),
        )


@asynccontextmanager
async def judge_for(
    problem: Problem,
    split: Split,
    sandbox: Runner,
    *,
    limits: Limits = Limits(),  # noqa: B008
    workers: int = 2,
    comparison: Literal["question", "livecodebench"] = "question",
    shuffle_feedback: bool = False,
) -> AsyncGenerator[Judge | AnswerJudge, None]:
    """Opens the judge that `problem` needs; what it started besides the sandbox ends with the block.

    Answers that are no programs, and outputs that a checker of the user's own judges, are checked in at most `workers`
    processes at once. `comparison` is the setting `judge.comparison`.
    """
    if problem.asks_for_program:
        problem = compared(problem, comparison)
        async with open_check(problem, sandbox, limits, workers=workers) as check:
            yield Judge(sandbox, problem, split, limits=limits, check=check, shuffle_feedback=shuffle_feedback)
        return
    async with open_scorer(scorer_spec(problem, limits), seconds=limits.wall_seconds, workers=workers) as scorer:
        yield AnswerJudge(problem, scorer, limits)


def _shuffled(problem: Problem, split: Split) -> Problem:
    """Returns the question of the control: each visible case has the expected output of the next one."""
    cases = list(problem.cases)
    for index, other in zip(split.visible, (*split.visible[1:], split.visible[0]), strict=True):
        cases[index] = replace(problem.cases[index], expected=problem.cases[other].expected)
    return replace(problem, cases=tuple(cases))


def own_limits(problem: Problem, limits: Limits) -> Limits:
    """Returns `limits` with the time and memory limits that the question itself states.

    The wall limit only ever grows: it is for sleepers, and a loaded machine must not turn it into a time limit.
    """
    if problem.time_limit_seconds is not None:
        seconds = problem.time_limit_seconds
        wall_seconds = max(limits.wall_seconds, WALL_PER_CPU * seconds)
        together = max(limits.program_wall_seconds, wall_seconds)
        limits = replace(limits, cpu_seconds=seconds, wall_seconds=wall_seconds, program_wall_seconds=together)
    if problem.memory_limit_mib is not None:
        limits = replace(limits, memory_bytes=problem.memory_limit_mib << 20)
    return limits


def case_result(index: int, outcome: Outcome) -> CaseResult:
    """Returns what `outcome` means for case `index`: accepted, if the program ended well and its output is right."""
    status = _STATUS.get(outcome.ending, Status.ACCEPTED)
    error = own_traceback(outcome.stderr) if status is Status.RUNTIME_ERROR else ""
    score = float(status is Status.ACCEPTED)
    return CaseResult(index, status, error=error, cpu_seconds=outcome.cpu_seconds, score=score)


def _checked(result: CaseResult, output: bytes | None, score: Score) -> CaseResult:
    """Returns `result` with the word on its output; only what feedback shows is kept, so that results stay small."""
    if score.value >= 1:
        return result
    said = readable(clip(score.feedback, MAX_FIELD_CHARACTERS))
    return replace(result, status=Status.WRONG_ANSWER, actual=shown(output or b""), message=said, score=score.value)


def shown(output: bytes) -> str:
    """Returns what feedback shows of an output: all of it, or its beginning and how long it was."""
    beginning = output[:MAX_SHOWN_BYTES]  # before any other work, since there may be megabytes
    if len(beginning) == len(output):
        return clip(_readable(output).rstrip("\n"), MAX_FIELD_CHARACTERS)
    mark = f"... ({len(output)} bytes)"
    return _readable(beginning)[: MAX_FIELD_CHARACTERS - len(mark)] + mark


def own_traceback(stderr: bytes) -> str:
    """Returns the last traceback in `stderr`: the program's own innermost frames and the exception's lines.

    Memory addresses are blanked, so that the same program always gets the same text. Where nothing was printed, the
    program itself ended with an error status or was killed by a signal. At most MAX_ERROR_CHARACTERS.
    """
    lines = _ADDRESS.sub("at 0x...", _readable(stderr)).strip("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    frames, exception = _frames(lines[starts[-1] + 1 :] if starts else lines)
    message = clip("\n".join(exception).lstrip("\n").rstrip(), MAX_FIELD_CHARACTERS)
    own = _innermost([frame for frame in frames if _is_own(frame)], MAX_ERROR_CHARACTERS - len(message))
    return "".join(own) + message or "The program ended with an error status and without a message."


def _innermost(frames: Sequence[str], characters: int) -> Sequence[str]:
    """Returns the last of `frames`, as many as fit into `characters`."""
    lengths = accumulate(len(frame) for frame in reversed(frames))
    return frames[len(frames) - sum(1 for length in lengths if length <= characters) :]


def _readable(data: bytes) -> str:
    """Returns text for prompts and terminals; what is not UTF-8 becomes U+FFFD."""
    return readable(data.decode(errors="replace"))


def _frames(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns a traceback's frames, each with the indented lines that belong to it, and what follows the last one."""
    frames: list[str] = []
    rest: list[str] = []
    for line in lines:
        if _FRAME.match(line):
            frames.append(line + "\n")
            rest = []
        elif frames and not rest and line.startswith("  "):
            frames[-1] += line + "\n"
        else:
            rest.append(line)
    return frames, rest


def _is_own(frame: str) -> bool:
    match = _FRAME.match(frame)
    return match is not None and match["file"].endswith(SOURCE_FILE)


def _passed(results: Iterable[CaseResult]) -> int:
    return sum(result.status is Status.ACCEPTED for result in results)
