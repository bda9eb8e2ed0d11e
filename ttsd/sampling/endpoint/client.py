"""Asks an endpoint for one answer to one user turn, and asks again while the fault may pass. The door to `openai`.

Answers are streamed: so a silent server is noticed, and one whose request is cancelled stops. An answer counts once it
is whole; one that was cut off is asked for again, and its tokens cost what they cost.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import openai

from ttsd.config import Endpoint
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Charge
from ttsd.sampling.plain_text import BYTES_A_TOKEN
from ttsd.sampling.protocol import SamplerStats

OPTIONAL = ("logprobs", "stream_options", "chat_template_kwargs")  # not every server takes them
LEAST_BYTES, BYTES_A_PIECE = 1 << 22, 1 << 12  # more than a stream with log-probabilities has
LONGEST_PAUSE, LONGEST_ASKED_PAUSE = 60.0, 600.0  # seconds: ours, the server's
CONNECT_SECONDS = 20.0
SHOWN = 300  # characters of what a server says
PASSING = (408, 409, 425, 429)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Thinking stands in front of it between marks. `logprobs`: of its tokens, where they are known."""

    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: tuple[float, ...]
    charge: Charge


class _Fault(Exception):
    """A fault that may pass. `pause`: the seconds that the server asks for."""

    def __init__(self, cause: str, pause: float | None = None) -> None:
        super().__init__(cause)
        self.pause = pause


class Client:
    """Asks `model` at `url`, `settings.requests` times at once. `stats` counts tokens as they come.

    `shorter`: says how a request that is too long can be shortened. `pause_seconds`: the first pause after a fault; it
    doubles each time.
    """

    def __init__(
        self,
        url: str,
        model: str | None,
        settings: Endpoint,
        stats: SamplerStats,
        *,
        shorter: str,
        pause_seconds: float = 1.0,
    ) -> None:
        self.url, self.model, self.stats, self._shorter = url, model, stats, shorter
        self._settings, self._pause_seconds = settings, pause_seconds
        self._gate = asyncio.Semaphore(settings.requests)
        self._left_out: set[str] = set()
        self._names = ""
        self._length_name = "max_tokens"
        self._most_bytes = LEAST_BYTES
        self._key = os.environ.get(settings.key_variable, "").strip()
        self._openai = openai.AsyncOpenAI(
            api_key=self._key or "none",  # servers of one's own want none
            base_url=url,
            max_retries=0,
            timeout=httpx2.Timeout(settings.timeout_seconds, connect=min(CONNECT_SECONDS, settings.timeout_seconds)),
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [self._limit]}),
        )

    async def start(self, url_setting: str, name_setting: str) -> None:
        """Checks that the endpoint and its model are there.

        UserError: no name is set, or the server refuses it; InfrastructureError: nothing answers.
        """
        variable = self._settings.key_variable
        if not self._key and variable != Endpoint().key_variable:
            raise UserError(f"there is no {variable} in the environment; export it, or leave out endpoint.key_variable")
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(f"what {variable} has in the environment can't be a key; export it again")
        served = await self.served(f"; start it, or correct {url_setting}")
        self._names = ", ".join(served[:8])
        if self.model is None:
            names = self._names or "it does not say which it has"
            raise UserError(f"{name_setting} is none; name a model that {self.url} serves ({names})")
        if served and self.model not in served:  # some servers know more names than they list
            await self.ask("?", max_tokens=1)

    async def served(self, remedy: str = "") -> list[str]:
        """Returns the names of the models that the endpoint lists; none where it has no list.

        InfrastructureError: nothing answers. UserError: the key is refused.
        """
        try:
            return [str(model.id) for model in (await self._openai.models.list()).data]
        except openai.APIConnectionError as error:
            raise InfrastructureError(f"no endpoint answers at {self.url} ({self._said(error)}){remedy}") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise self._refused_key() from None
        except (openai.APIError, AttributeError, TypeError, ValueError):
            return []

    async def ask(self, user: str, *, system: str | None = None, **wanted: Any) -> Answer:
        """Returns the answer to one user turn. `wanted`: parameters of the request, `max_tokens` among them.

        UserError: the endpoint refuses the request. InfrastructureError: it failed too often.
        """
        user = user.encode("utf-8", "replace").decode("utf-8")  # half a character can't be sent
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": user})
        wanted = {"messages": turns, "stream_options": {"include_usage": True}, **wanted}
        self._most_bytes = max(self._most_bytes, LEAST_BYTES + BYTES_A_PIECE * wanted["max_tokens"])
        lost = 0.0
        async with self._gate:
            for repeats in itertools.count():
                pieces = _Pieces()
                try:
                    answer = await self._once(wanted, pieces)
                    break
                except _Fault as fault:
                    lost += self._charge(pieces, user).dollars if pieces.count else 0.0
                    if repeats == self._settings.retries:
                        raise InfrastructureError(
                            f"the endpoint {self.url} failed {repeats + 1} times, at last so: {fault}; "
                            "the same command resumes"
                        ) from None
                    await asyncio.sleep(self._pause(repeats, fault.pause))
        charge = self._charge(pieces, user)
        return Answer(*answer, Charge(charge.prompt_tokens, charge.completion_tokens, charge.dollars + lost))

    async def close(self) -> None:
        """Closes the connections."""
        await self._openai.close()

    async def _once(
        self, wanted: Mapping[str, Any], pieces: _Pieces
    ) -> tuple[str, Literal["stop", "length"], tuple[float, ...]]:
        """Makes one request. _Fault: it failed in a way that may pass."""
        sent = self._parameters(wanted)
        try:
            async with await self._openai.chat.completions.create(**sent) as stream:
                async for chunk in stream:
                    self.stats.tokens += pieces.add(chunk)
            return pieces.whole()
        except openai.APIStatusError as error:
            if error.status_code < 500 and error.status_code not in PASSING:
                if not self._adapts(str(error), {**sent, **sent["extra_body"]}):
                    raise self._refusal(error) from None
                return await self._once(wanted, pieces)
            if error.code == "insufficient_quota":
                raise InfrastructureError(f"the endpoint {self.url} answers no more: {self._said(error)}") from None
            raise _Fault(f"status {error.status_code}, {self._said(error)}", _asked_pause(error)) from None
        except openai.APIError as error:
            raise _Fault(self._said(error)) from None
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError, httpx2.HTTPError) as error:
            raise _Fault(f"it sent no completion ({self._said(error)})") from None

    def _parameters(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a request in the words that this server knows."""
        given = {name: value for name, value in wanted.items() if name not in self._left_out}
        given[self._length_name] = given.pop("max_tokens")
        own = {name: given.pop(name) for name in ("chat_template_kwargs",) if name in given}
        return {"model": self.model, "stream": True, **given, "extra_body": own}

    def _adapts(self, said: str, sent: Mapping[str, Any]) -> bool:
        """Tells whether a request can be made in other words, after a server refused what was `sent` and `said` why."""
        if "max_completion_tokens" in said and "max_tokens" in sent:
            self._length_name = "max_completion_tokens"
            return True
        for name in OPTIONAL:
            if name in said and name in sent and not _matters(name, sent[name]):
                if name not in self._left_out:  # no other request that is under way was refused for it
                    print(f"ttsd: the endpoint {self.url} takes no {name}; it is left out", file=sys.stderr, flush=True)
                self._left_out.add(name)
                return True
        return False

    def _refusal(self, error: openai.APIStatusError) -> UserError:
        if error.status_code in (401, 403):
            return self._refused_key()
        advice = self._shorter
        if error.status_code == 404:
            served = f"it serves {self._names}" if self._names else "most URLs end in /v1"
            advice = f"check URL and name of the model {self.model} ({served})"
        return UserError(f"the endpoint {self.url} refuses the request ({self._said(error)}); {advice}")

    def _refused_key(self) -> UserError:
        variable = self._settings.key_variable
        return UserError(f"the endpoint {self.url} refuses the key; put one that it knows into {variable}")

    def _charge(self, pieces: _Pieces, user: str) -> Charge:
        """Returns the server's own count, or an estimate where it gives none."""
        prompt, completion = pieces.usage or (len(user.encode()) // BYTES_A_TOKEN, pieces.count)
        prices = self._settings
        return Charge(prompt, completion, (prompt * prices.prompt_price + completion * prices.completion_price) / 1e6)

    def _pause(self, repeats: int, asked: float | None) -> float:
        if asked is not None:
            return min(asked, LONGEST_ASKED_PAUSE)
        longest = min(self._pause_seconds * 2.0 ** min(repeats, 30), LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)  # so that requests that failed together come apart

    def _said(self, error: BaseException) -> str:
        """Returns what happened and why, in one line without the key."""
        words = " ".join(" ".join(str(one) for one in (error, error.__cause__) if one is not None).split())
        return (words.replace(self._key, "(key)") if self._key else words)[:SHOWN] or type(error).__name__

    async def _limit(self, response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Limited(response.stream, self._most_bytes)


@dataclass(slots=True)
class _Pieces:
    """What has come of an answer. `usage`: tokens of prompt and answer, as the server counts them."""

    thinking: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: str = ""
    count: int = 0
    usage: tuple[int, int] | None = None

    def add(self, chunk: Any) -> int:
        """Adds one message of the stream; returns how many pieces of the answer it brought."""
        if getattr(chunk, "usage", None) is not None:
            self.usage = max(0, int(chunk.usage.prompt_tokens)), max(0, int(chunk.usage.completion_tokens))
        before = self.count
        for choice in chunk.choices[:1]:
            thought = getattr(choice.delta, "reasoning_content", None) or getattr(choice.delta, "reasoning", None)
            self.thinking.append(thought or "")
            self.text.append(choice.delta.content or "")
            known = choice.logprobs.content or [] if choice.logprobs is not None else []
            self.logprobs += [float(token.logprob) for token in known]
            self.count += max(len(known), int(bool(thought or choice.delta.content)))
            self.ended = choice.finish_reason or self.ended
        return self.count - before

    def whole(self) -> tuple[str, Literal["stop", "length"], tuple[float, ...]]:
        """Returns text, finish reason and log-probabilities. _Fault: the end is missing."""
        if self.ended in ("", "abort", "error"):
            raise _Fault("the answer was cut off" if self.count else "it sent no completion")
        thinking, text = "".join(self.thinking), "".join(self.text)
        if thinking:
            text = f"<think>\n{thinking}" + (f"\n</think>\n\n{text}" if text else "")
        logprobs = tuple(self.logprobs) if all(map(math.isfinite, self.logprobs)) else ()
        return text, "length" if self.ended == "length" else "stop", logprobs


class _Limited(httpx2.AsyncByteStream):
    """A body that ends in an error where it is longer than any answer."""

    def __init__(self, inner: httpx2.AsyncByteStream, most_bytes: int) -> None:
        self._inner, self._most_bytes = inner, most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most_bytes
        async for part in self._inner:
            left -= len(part)
            if left < 0:
                raise ValueError(f"more than {self._most_bytes >> 20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def _matters(name: str, value: object) -> bool:
    """Tells whether the user asked for this optional parameter: one that changes what is sampled is not left out."""
    return name == "chat_template_kwargs" and value != {"enable_thinking": False}


def _asked_pause(error: openai.APIStatusError) -> float | None:
    """Returns the seconds of the header Retry-After; None: there is none, or it is a date."""
    try:
        seconds = float(error.response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
