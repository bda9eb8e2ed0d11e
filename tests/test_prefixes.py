"""What prompts share is read once, and what is drawn after it does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.tiny import write_model

if TYPE_CHECKING:
    from ttsd.backbone import Base, Prefixes

QUESTION = tuple(range(5, 25))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    from ttsd.backbone import load_base

    return load_base(str(write_model(Path(tmp_path_factory.mktemp("model")))), dtype="float32")


@pytest.fixture
def read(base: Base) -> Iterator[list[int]]:
    """How many tokens each forward pass of the decoder was given."""
    counts: list[int] = []
    hook = base.model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    yield counts
    hook.remove()


def prefixes(most_bytes: int = 1 << 20) -> Prefixes:
    from ttsd.backbone import Prefixes

    return Prefixes(most_bytes)


def test_every_beginning_is_read_once(base: Base, read: list[int]) -> None:
    from ttsd.backbone import generate

    known, prompts = prefixes(), [(*QUESTION, 30, 31), (*QUESTION, 40), QUESTION[:7], (*QUESTION, 30, 31, 32, 33)]
    generate(base, None, [*prompts, prompts[1]], max_tokens=1, seed=0, known=known)
    assert read == [22, 1, 1, 2]
    generate(base, None, [prompts[0], (9, *QUESTION)], max_tokens=1, seed=0, known=known)
    assert read[4:] == [1, 21]


def test_log_probabilities_are_those_of_prompts_read_in_full(base: Base) -> None:
    import torch

    from ttsd.backbone import generate

    known, prompts = prefixes(), [(*QUESTION, 30, 31), (*QUESTION, 40), QUESTION[:7], (8, 9)]
    for _ in range(2):
        found = generate(base, None, prompts, max_tokens=8, seed=1, known=known)
        for prompt, (ids, logprobs, _) in zip(prompts, found, strict=True):
            with torch.no_grad():
                whole = base.model(torch.tensor([[*prompt, *ids[:-1]]])).logits[0, -len(ids) :].log_softmax(-1)
            torch.testing.assert_close(whole[range(len(ids)), list(ids)], torch.tensor(logprobs), atol=1e-4, rtol=1e-4)


def test_the_oldest_go_first() -> None:
    import torch

    def cache(tokens: int) -> SimpleNamespace:
        part = torch.zeros(1, 1, tokens, 4)
        return SimpleNamespace(layers=[SimpleNamespace(keys=part, values=part)])

    known = prefixes(most_bytes=2 * 8 * 32)  # of two prompts of eight tokens
    first, second, third = (tuple(range(start, start + 8)) for start in (0, 10, 20))
    for prompt in (first, second, first, third):
        known.keep(prompt, cache(8))
    lengths = [known.longest((*prompt, 99)) for prompt in (first, second, third)]
    assert [layers[0][0].shape[2] if layers else 0 for layers in lengths] == [8, 0, 8]
