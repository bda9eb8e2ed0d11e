"""How many tokens a step's sequences have: at their limit for memory, as usual for time.

A group is drawn when its longest completion has ended. Lengths of completions are spread widely around their mean: a
log-normal distribution, cut at `sampling.max_tokens`, whose spread on hard questions lies between the two below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

from ttsd.config import Config

SPREADS = (0.35, 0.7)  # standard deviation of the logarithm of a completion's length: lowest, highest
_USUAL_PROMPT, _USUAL_FEEDBACK = 768, 512  # tokens of a LiveCodeBench question, and of feedback on it


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one step's sequences; `prompt`: what an attempt reads; `completion` on average, `limit` at most.

    `shared`: all attempts of a step read the same prompt.
    """

    group: int
    prompt: int
    reprompt: int
    completion: int
    limit: int
    shared: bool = True

    @property
    def student(self) -> int:
        """Tokens that the student reads: a shared prompt once."""
        return (1 if self.shared else self.group) * self.prompt + self.group * self.completion

    @property
    def teacher(self) -> int:
        """Tokens that the teacher reads if no two reprompts share anything."""
        return self.group * (self.reprompt + self.completion)

    def longest(self, spread: float) -> float:
        """Tokens of the longest completion of a group, in the middle of what may come."""
        mean_of_log = math.log(self.completion) - spread**2 / 2
        rank = NormalDist().inv_cdf(0.5 ** (1 / self.group))
        return min(self.limit, math.exp(mean_of_log + spread * rank)) if self.group > 1 else self.completion


def longest_lengths(config: Config) -> Lengths:
    """Everything at its limit."""
    sampling, reads = config.sampling, True
    question, reprompt, room = sampling.max_prompt_len, config.reprompt.max_reprompt_len, config.model.max_model_len
    if reads and room is not None:
        reprompt = min(reprompt, room - sampling.max_tokens)
    prompt = max(question, reprompt) if reads else question
    return Lengths(sampling.group_size, prompt, reprompt, sampling.max_tokens, sampling.max_tokens, shared=not reads)


def usual_lengths(config: Config, completion_tokens: int | None) -> Lengths:
    """Of a question of usual length whose completions have so many tokens on average; None: all at the limit."""
    longest = longest_lengths(config)
    if completion_tokens is None:
        return longest
    question = min(_USUAL_PROMPT, config.sampling.max_prompt_len)
    reprompt = min(question + config.extensions.feedback_items * _USUAL_FEEDBACK, longest.reprompt)
    prompt = question if longest.shared else max(question, reprompt)
    return replace(longest, prompt=prompt, reprompt=reprompt, completion=min(completion_tokens, longest.limit))
