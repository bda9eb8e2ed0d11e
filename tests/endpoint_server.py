"""A small server with OpenAI's interface that answers from a script, or fails as servers do. Real HTTP on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

Reply = Callable[[dict[str, Any]], Response]


def event(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\n\n"


def piece(text: str = "", end: str | None = None, logprob: float | None = -0.5, **delta: str) -> str:
    known = None if logprob is None else {"content": [{"token": text, "logprob": logprob, "bytes": []}]}
    choice = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": end, "logprobs": known}
    return event(id="x", object="chat.completion.chunk", created=0, model="m", choices=[choice])


def usage(prompt: int, completion: int) -> str:
    return event(
        id="x", object="chat.completion.chunk", created=0, model="m", choices=[],
        usage={"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    )  # fmt: skip


def stream(*parts: str, then: str = "data: [DONE]\n\n", wait: float = 0.0, cut: bool = False) -> Reply:
    """Sends `parts`; then ends, or waits, or breaks the connection."""

    async def body() -> AsyncIterator[str]:
        for part in parts:
            yield part
        await asyncio.sleep(wait)
        if cut:
            raise ConnectionError("cut")
        yield then

    return lambda _: StreamingResponse(body(), media_type="text/event-stream")


def answer(text: str, end: str = "stop", prompt: int = 100, completion: int = 40) -> Reply:
    """Answers with `text` in two pieces, and the tokens that it claims to have used."""
    half = len(text) // 2
    return stream(piece(text[:half]), piece(text[half:], end), usage(prompt, completion))


def status(code: int, message: str = "no", **headers: str) -> Reply:
    return lambda _: JSONResponse(
        {"error": {"message": message, "type": "t", "code": None}},
        code,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def plain(text: str, code: int = 200) -> Reply:
    return lambda _: PlainTextResponse(text, code)


class Scripted:
    """Answers each request by the next of `replies`, and by the last one ever after. Remembers what it was asked."""

    def __init__(self, *replies: Reply, models: Reply | None = None) -> None:
        self.replies = list(replies)
        self.models = models or (lambda _: JSONResponse({"object": "list", "data": [{"id": "m", "object": "model"}]}))
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left: list[float] = []  # when a client went away in the middle of an answer
        self.busy = self.most_busy = 0
        self.url = ""

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        response = reply(body)
        if not isinstance(response, StreamingResponse):
            self.busy -= 1
            return response
        response.body_iterator = self._watched(response.body_iterator)
        return response

    async def _watched(self, parts: Any) -> AsyncIterator[Any]:
        try:
            async for part in parts:
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            self.left.append(time.monotonic())
            raise
        finally:
            self.busy -= 1

    @contextmanager
    def running(self) -> Iterator[Scripted]:
        """Listens on a free port while inside."""

        async def models(_: Request) -> Response:
            return self.models({})

        complete = Route("/v1/chat/completions", self.complete, methods=["POST"])
        with listening([complete, Route("/v1/models", models)]) as address:
            self.url = f"{address}/v1"
            yield self


@contextmanager
def listening(routes: Iterable[Route]) -> Iterator[str]:
    """Serves `routes` on a free port while inside; gives the address."""
    config = uvicorn.Config(Starlette(routes=list(routes)), port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.force_exit = server.should_exit = True
        thread.join()


def answers(url: str) -> bool:
    """Tells whether a server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
