"""What the policy of a run reads: one builder for the run itself and for those who look at it afterwards.

A prompt depends on the question, the tokenizer and the run's settings, their limits included. Nobody else builds
`Reprompts` or `Conversation` for a run.
"""

from __future__ import annotations

from ttsd.baselines import Conversation
from ttsd.config import Config
from ttsd.loop import WHOLE_GROUPS, Rounds
from ttsd.methods import Method
from ttsd.nouns import Problem
from ttsd.prompts import ChatTokenizer, student_prompt
from ttsd.reprompts import Reprompts


def readings_of(method: Method, problem: Problem, tokenizer: ChatTokenizer, config: Config) -> Reprompts | Conversation:
    """What the runs of `method` read. UserError where the question is too long."""
    if method.converses:
        return conversation(problem, tokenizer, config)
    return teaching(problem, tokenizer, config, taught=method.taught)


def group_size_of(method: Method, config: Config) -> int:
    """How many attempts one step of `method` has."""
    return config.reprompt.multi_turn_chains if method.converses else config.sampling.group_size


def rounds_of(method: Method, config: Config) -> Rounds:
    """How many of them are drawn at once: who reads no feedback has no verdict to wait for."""
    sampling = config.sampling
    waits = method.taught and sampling.teacher_fraction > 0
    return Rounds(sampling.round_size, sampling.round_growth, sampling.round_least) if waits else WHOLE_GROUPS


def teaching(problem: Problem, tokenizer: ChatTokenizer, config: Config, *, taught: bool = True) -> Reprompts:
    """The question's prompts, a teacher's too if `taught`. UserError where the student's is too long.

    Reprompts that attempts are drawn from are no longer than the model has room for beside an answer.
    """
    drawn, settings, room = config.sampling.teacher_fraction if taught else 0.0, config.reprompt, _room(config)
    if drawn and room is not None and settings.max_reprompt_len > room:
        settings = settings.model_copy(update={"max_reprompt_len": room})
    return Reprompts(
        student_prompt(problem),
        tokenizer,
        settings,
        max_prompt_len=config.sampling.max_prompt_len,
        teacher_fraction=drawn,
        reading_window=config.sampling.reading_window,
    )


def conversation(problem: Problem, tokenizer: ChatTokenizer, config: Config) -> Conversation:
    """The prompts of multi-turn's attempts, no longer than the model has room for beside an answer."""
    return Conversation(student_prompt(problem), tokenizer, config.reprompt, room=_room(config))


def _room(config: Config) -> int | None:
    """Tokens that a prompt may have beside an answer of full length; None: as many as the model itself takes."""
    length = config.model.max_model_len
    return None if length is None else length - config.sampling.max_tokens
