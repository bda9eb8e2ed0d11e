"""Hints of a stronger model: an endpoint reads question, attempt and verdict, and says where the fault is.

A hint belongs to its attempt and stands in the self-teacher's prompt alone. The endpoint sees what the model sees: of
the cases only the visible ones, in the words of the feedback.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ttsd.config import Config
from ttsd.nouns import Attempt, Hint
from ttsd.sampling.protocol import SamplerStats
from ttsd.thinking import without_thinking

if TYPE_CHECKING:
    from ttsd.sampling.endpoint import Client

REQUEST = """\
A student tries to solve this question:

{question}

The student's answer:

{answer}

Feedback on it:

{feedback}

Write a hint for the student, of a few sentences: what is wrong in the answer, and which idea leads to a right one. \
Do not write the program."""

HINT_TOKENS = 256  # of a hint at most

WriteHint = Callable[[Attempt], Awaitable[Hint | None]]


@asynccontextmanager
async def hint_client(config: Config, *, learns: bool) -> AsyncGenerator[Client | None, None]:
    """Gives what asks the endpoint of `reprompt.hints`; None: no run wants hints.

    UserError: no model is named there; InfrastructureError: nothing answers.
    """
    url = config.reprompt.hints
    if url is None or not learns:
        yield None
        return
    from ttsd.sampling.endpoint import Client

    shorter = "choose a reprompt.hints_model that takes longer requests"
    client = Client(url, config.reprompt.hints_model, config.endpoint, SamplerStats(), shorter=shorter)
    try:
        await client.start("reprompt.hints", "reprompt.hints_model")
        yield client
    finally:
        await client.close()


def hint_writer(client: Client, question: str) -> WriteHint:
    """Returns what asks for a hint on an attempt at `question`; None where no feedback is."""

    async def write(attempt: Attempt) -> Hint | None:
        if not attempt.verdict.feedback:
            return None
        said = without_thinking(attempt.completion.text).strip()
        user = REQUEST.format(question=question, answer=said, feedback=attempt.verdict.feedback)
        answer = await client.ask(user, max_tokens=HINT_TOKENS)
        charge = answer.charge
        text = without_thinking(answer.text).strip()
        return Hint(text, charge.prompt_tokens + charge.completion_tokens, charge.dollars)

    return write
