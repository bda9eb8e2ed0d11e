"""The endpoint sampler against a real HTTP server that answers, and fails in the ways that servers do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from tests.endpoint_server import Reply, Scripted, answer, event, piece, plain, status, stream, usage
from ttsd.config import Config, load_config
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Charge, Completion
from ttsd.sampling.endpoint import Client, EndpointSampler
from ttsd.sampling.plain_text import PlainText
from ttsd.sampling.protocol import AdapterRef, SamplerStats
from ttsd.thinking import without_thinking

ANSWER = "```python\nprint(1)\n```"
KEY = "sk-very-secret-0123456789"


def settings(url: str, *more: str) -> Config:
    return load_config(None, [f"model.path={url}", "model.name=m", "sampling.max_tokens=50", "method=best-of-k", *more])


@asynccontextmanager
async def sampler(*replies: Reply, config: tuple[str, ...] = ()) -> AsyncIterator[tuple[EndpointSampler, Scripted]]:
    """A started sampler with a server behind it; pauses are short."""
    with Scripted(*replies).running() as server:
        made = EndpointSampler(settings(server.url, *config), pause_seconds=0.01)
        try:
            await made.start()
            yield made, server
        finally:
            await made.close()


async def complete(made: EndpointSampler, user: str = "What?") -> Completion:
    return await made.complete(PlainText().chat(user), None)


async def test_an_answer_has_text_tokens_logprobs_and_price() -> None:
    prices = ("endpoint.prompt_price=2", "endpoint.completion_price=10", "model.system_prompt=Be brief.")
    async with sampler(answer(ANSWER), config=(*prices, "sampling.temperature=0.5")) as (made, server):
        completion = await complete(made, "Wie groß ist {n}?")
        assert (completion.text, completion.finish_reason, completion.token_ids) == (ANSWER, "stop", ())
        assert completion.charge == Charge(100, 40, (100 * 2 + 40 * 10) / 1e6)
        assert (completion.logprobs, completion.tokens) == ((-0.5, -0.5), 40)
        asked = server.asked[0]
        assert asked["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Wie groß ist {n}?"},
        ]
        wanted = {"model": "m", "max_tokens": 50, "temperature": 0.5, "top_p": 1.0, "logprobs": True, "stream": True}
        assert {name: asked[name] for name in wanted} == wanted
        assert asked["chat_template_kwargs"] == {"enable_thinking": False}
        assert "seed" not in asked
        assert made.stats.tokens == 2


async def test_a_length_that_is_reached_is_said_and_a_server_that_counts_nothing_is_estimated() -> None:
    reply = stream(piece("abc", logprob=None), piece("def", "length", logprob=None))
    async with sampler(reply) as (made, _):
        completion = await complete(made, "x" * 30)
        assert (completion.finish_reason, completion.logprobs) == ("length", ())
        assert completion.charge == Charge(10, 2)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_is_part_of_the_text_and_left_out_of_the_answer(field: str) -> None:
    parts = [piece(**{field: "draft: ```python\n0\n```"}), piece(ANSWER, "stop"), usage(1, 2)]
    unfinished = [piece(**{field: "draft"}), piece("", "length"), usage(1, 2)]
    async with sampler(stream(*parts), stream(*unfinished)) as (made, _):
        completion = await complete(made)
        assert "draft" in completion.text
        assert without_thinking(completion.text).strip() == ANSWER
        assert without_thinking((await complete(made)).text) == ""


async def test_the_users_own_end_of_thinking_is_known() -> None:
    async with sampler(answer(f"hm\n[DONE THINKING]\n{ANSWER}"), config=("model.thinking_end=[DONE THINKING]",)) as (
        made,
        _,
    ):
        assert without_thinking((await complete(made)).text).strip() == ANSWER


FAULTS = {
    "too many requests, and when to come again": status(429, Retry_After="0"),
    "too many requests": status(429),
    "too many requests until a date": status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "server error": status(500),
    "server error that is a page": plain("<html>Bad gateway</html>", 502),
    "server error without end": plain("x" * 30_000_000, 503),
    "silence": stream(piece("abc"), wait=60.0),
    "silence from the start": stream(wait=60.0),
    "a stream that is cut": stream(piece("abc"), cut=True),
    "a stream that ends without an end": stream(piece("abc")),
    "an error in the stream": stream(piece("abc"), event(error={"message": "out of memory"})),
    "an engine that dies": stream(piece("abc"), piece("", "abort")),
    "garbage": plain("<html>hello</html>"),
    "garbage in the stream": stream("data: {no json\n\n"),
    "bytes in the stream": stream("data: \x00\x01\n\n"),
    "JSON that is no completion": stream("data: [1, 2]\n\n", "data: 3\n\n", 'data: {"choices": 5}\n\n'),
    "JSON without bottom": stream(f"data: {'[' * 100_000}\n\n"),
    "text that is a number": stream('data: {"choices": [{"delta": {"content": 5}, "finish_reason": "stop"}]}\n\n'),
    "nothing": plain(""),
    "no choices": stream(event(id="x", choices=[]), usage(1, 1)),
    "a huge line": stream("data: " + "x" * 30_000_000 + "\n\n"),
    "a stream that is too long": stream(*[piece("x" * 100_000)] * 300),
}


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_a_fault_is_survived(fault: str) -> None:
    patience = 2 if fault.startswith("silence") else 60  # seconds: a machine that pauses is not a fault
    config = (f"endpoint.timeout_seconds={patience}",)
    async with sampler(FAULTS[fault], answer(ANSWER), config=config) as (made, server):
        completion = await complete(made)
        assert (completion.text, completion.finish_reason) == (ANSWER, "stop")
        assert len(server.asked) == 2


async def test_what_was_cut_off_costs_too() -> None:
    prices = ("endpoint.completion_price=1000000", "endpoint.prompt_price=0")
    async with sampler(stream(piece("a"), piece("b"), cut=True), answer(ANSWER), config=prices) as (made, _):
        completion = await complete(made)
        assert completion.charge == Charge(100, 40, 40.0 + 2.0)


async def test_who_fails_for_ever_is_given_up_in_one_sentence() -> None:
    async with sampler(status(500, "engine is dead"), config=("endpoint.retries=2",)) as (made, server):
        with pytest.raises(
            InfrastructureError,
            match=r"failed 3 times, at last so: status 500, .*engine is dead.*; the same command resumes",
        ):
            await complete(made)
        assert len(server.asked) == 3


async def test_the_servers_own_pause_is_kept() -> None:
    async with sampler(status(429, Retry_After="0.3"), answer(ANSWER)) as (made, _):
        start = time.monotonic()
        await complete(made)
        assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            status(400, "maximum context length is 2048"),
            "maximum context length is 2048.*lower sampling.max_tokens or set model.max_model_len",
        ),
        (status(404, "no such model"), r"no such model.*check URL and name of the model m \(it serves m\)"),
        (status(401, f"Incorrect API key provided: {KEY}"), "refuses the key; put one that it knows into MY_KEY"),
        (status(422, f"you sent {KEY}"), r"you sent \(key\)"),
    ],
)
async def test_a_refusal_is_the_users_to_correct(reply: Reply, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    async with sampler(reply, config=("endpoint.key_variable=MY_KEY",)) as (made, server):
        with pytest.raises(UserError, match=said) as refused:
            await complete(made)
        assert KEY not in str(refused.value)
        assert len(server.asked) == 1
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_a_model_that_no_list_names_is_tried_before_anything_is_recorded() -> None:
    """Some servers know more names than they list."""
    with Scripted(status(404, "no such model"), answer(ANSWER)).running() as server:
        for refused in (True, False):
            made = EndpointSampler(settings(server.url, "model.name=other"))
            with pytest.raises(UserError, match=r"the model other \(it serves m\)") if refused else nullcontext():
                await made.start()
            await made.close()
        assert [asked["max_tokens"] for asked in server.asked] == [1, 1]


async def test_a_quota_that_is_spent_is_not_asked_again() -> None:
    def spent(_: object) -> object:
        reply = status(429)({})
        reply.body = json.dumps({"error": {"message": "pay", "code": "insufficient_quota"}}).encode()
        reply.headers["content-length"] = str(len(reply.body))
        return reply

    async with sampler(spent) as (made, server):  # type: ignore[arg-type]
        with pytest.raises(InfrastructureError, match=r"answers no more: .*pay"):
            await complete(made)
        assert len(server.asked) == 1


async def test_a_server_that_knows_less_is_asked_for_less(capsys: pytest.CaptureFixture[str]) -> None:
    replies = [
        status(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        status(400, "Unrecognized request argument supplied: chat_template_kwargs"),
        status(403, "You are not allowed to request logprobs from this model"),
        status(400, "stream_options is not known"),
    ]
    async with sampler(*replies, answer(ANSWER), config=("endpoint.retries=0",)) as (made, server):
        assert (await complete(made)).text == ANSWER
        await complete(made)
        assert len(server.asked) == len(replies) + 2
        left = {"logprobs", "stream_options", "chat_template_kwargs", "max_tokens"}
        assert left & set(server.asked[-1]) == set()
        assert server.asked[-1]["max_completion_tokens"] == 50
    assert capsys.readouterr().err.count("it is left out") == 3


async def test_requests_that_are_refused_together_are_all_made_in_other_words() -> None:
    def particular(body: dict[str, Any]) -> Response:
        return (status(400, "logprobs are not supported") if "logprobs" in body else answer(ANSWER))(body)

    async with sampler(particular, config=("endpoint.retries=0",)) as (made, server):
        assert [one.text for one in await asyncio.gather(*(complete(made) for _ in range(8)))] == [ANSWER] * 8
        assert 9 < len(server.asked) <= 16


async def test_what_the_user_wants_of_the_template_is_not_left_out() -> None:
    refusal = status(400, "Unrecognized request argument supplied: chat_template_kwargs")
    async with sampler(refusal, config=("model.enable_thinking=true",)) as (made, _):
        with pytest.raises(UserError, match="chat_template_kwargs"):
            await complete(made)


async def test_no_more_requests_than_allowed_are_made_at_once() -> None:
    slow = stream(piece(ANSWER, "stop"), usage(1, 1), wait=0.05)
    async with sampler(slow, config=("endpoint.requests=3",)) as (made, server):
        completions = await asyncio.gather(*(complete(made) for _ in range(12)))
        assert [one.text for one in completions] == [ANSWER] * 12
        assert server.most_busy == 3


async def test_a_cancelled_request_ends_at_once_on_both_sides() -> None:
    async with sampler(stream(piece("abc"), wait=60.0)) as (made, server):
        asking = asyncio.create_task(complete(made))
        while not made.stats.tokens:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while not server.left:
            await asyncio.sleep(0.01)
        assert server.left[0] - start < 5.0


async def test_a_start_says_what_is_wrong() -> None:
    made = EndpointSampler(settings("http://127.0.0.1:9/v1"))
    with pytest.raises(InfrastructureError, match=r"no endpoint answers at .*:9/v1 .*correct model.path"):
        await made.start()
    await made.close()
    with Scripted(answer(ANSWER)).running() as server:
        for wrong, said in (
            (["model.name=none"], r"model.name is none; name a model that .* serves \(m\)"),
            (["endpoint.key_variable=TTSD_NO_SUCH_KEY"], "there is no TTSD_NO_SUCH_KEY in the environment"),
        ):
            made = EndpointSampler(settings(server.url, *wrong))
            with pytest.raises(UserError, match=said):
                await made.start()
            await made.close()


@pytest.mark.parametrize("models", [status(404), plain("<html></html>"), status(500), plain('{"data": 5}')])
async def test_a_server_without_a_list_of_models_is_asked_all_the_same(models: Reply) -> None:
    with Scripted(answer(ANSWER), models=models).running() as server:
        made = EndpointSampler(settings(server.url))
        await made.start()
        assert (await complete(made)).text == ANSWER
        await made.health()
        await made.close()
    with Scripted(status(404), models=models).running() as server:
        made = EndpointSampler(settings(server.url))
        await made.start()
        with pytest.raises(UserError, match=r"check URL and name of the model m \(most URLs end in /v1\)"):
            await complete(made)
        await made.close()
    with pytest.raises(InfrastructureError):
        await EndpointSampler(settings(server.url)).health()


async def test_a_key_that_no_header_can_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nX-Other: 1")
    client = Client("http://127.0.0.1:9/v1", "m", load_config().endpoint, SamplerStats(), shorter="")
    with pytest.raises(UserError, match="can't be a key") as refused:
        await client.start("model.path", "model.name")
    assert "secret" not in str(refused.value)
    await client.close()


async def test_it_takes_no_adapter() -> None:
    async with sampler(answer(ANSWER)) as (made, _):
        with pytest.raises(InfrastructureError, match="takes no adapters"):
            await made.swap(None, AdapterRef("a", 1, None))  # type: ignore[arg-type]


@given(st.text(st.characters()))
def test_a_prompt_can_be_had_back_from_its_ids(text: str) -> None:
    ids = PlainText().chat(text)
    assert PlainText.whole_text(ids) == text
    assert len(ids) == -(-len(text.encode("utf-8", "surrogatepass")) // 3)
    assert all(0 < number < 1 << 31 for number in ids)


async def test_half_a_character_does_no_harm() -> None:
    async with sampler(answer(ANSWER)) as (made, server):
        await complete(made, "a\0\ud800")
        assert server.asked[0]["messages"][0]["content"] == "a\0?"
