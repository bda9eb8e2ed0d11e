"""How many tokens a step's sequences have at most."""

from __future__ import annotations

from dataclasses import dataclass

from ttsd.config import Config
from ttsd.methods import method_named


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one step's sequences: each prompt, each of the self-teacher's prompts, each completion.

    `shared`: all attempts of a step have the same prompt.
    """

    group: int
    prompt: int
    teacher_prompt: int
    completion: int
    shared: bool = True

    @property
    def student(self) -> int:
        """Counts the tokens that the student processes: a shared prompt once."""
        return (1 if self.shared else self.group) * self.prompt + self.group * self.completion

    @property
    def teacher(self) -> int:
        """Counts the tokens that the teacher processes if no two of its prompts share anything."""
        return self.group * (self.teacher_prompt + self.completion)


def longest_lengths(config: Config) -> Lengths:
    """Returns everything at its limit."""
    sampling, room = config.sampling, config.model.max_model_len
    waits, context = method_named(config.method).row.waits, config.reprompt.max_reprompt_len
    if room is not None:
        context = min(context, room - sampling.max_tokens)
    prompt = max(sampling.max_prompt_len, context) if waits else sampling.max_prompt_len
    return Lengths(sampling.group_size, prompt, context, sampling.max_tokens, shared=not waits)
