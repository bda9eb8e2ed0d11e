"""Plain batched sampling with the base's own forward pass, where no engine is at hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.base import Base
from ttsd.backbone.cache import Prefixes, check_filled, join, new_cache, only_keys
from ttsd.backbone.head import body_of
from ttsd.backbone.lora import Adapter, Prepared
from ttsd.errors import InfrastructureError, UserError

_TOKENS_BETWEEN_JOINS = 8  # a join copies the cache
_BLOCK = 256  # words of the vocabulary that are summed first

FinishReason = Literal["stop", "length", "abort"]
Generated = tuple[tuple[int, ...], tuple[float, ...], FinishReason]
Batch = tuple[Tensor, Any, Tensor]  # next-token logits (rows, vocab), transformers' cache, mask (rows, columns)


@torch.inference_mode()
def generate(
    base: Base,
    adapter: Adapter | None,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    stop_token_ids: Sequence[int] = (),
    seed: int = 0,
    should_stop: Callable[[int], bool] = lambda row: False,
    on_end: Callable[[int, Generated], None] = lambda row, generated: None,
    more: Callable[[int], Sequence[Sequence[int]]] = lambda sampled_now: (),
    known: Prefixes | None = None,
) -> list[Generated]:
    """Samples one completion per prompt: (token ids, their log-probabilities, finish reason), in the prompts' order.

    The log-probabilities are those of the distribution that was sampled from, temperature applied. A sampled
    stop token is part of the completion. `should_stop(i)` is asked before every token; a row it gives up ends as
    "abort". `on_end(i, its completion)` is called as soon as a row ends. Every few tokens `more(rows that are sampled
    now)` may add prompts, which become the next rows. `known` is of earlier calls with the same adapter, which
    is attached for one forward pass at a time, so a trainer gets its turn.
    """
    generator = torch.Generator().manual_seed(seed)
    prepared, known = base.prepared(adapter), known or Prefixes()
    with base.attached(prepared):
        logits, cache, mask = _prefill(base, prepared, prompts, known)
    rows = [_Row(index) for index in range(len(prompts))]
    alive = rows[:]
    for step in itertools.count():
        if step % _TOKENS_BETWEEN_JOINS == 0 and (late := more(len(alive))):
            with base.attached(prepared):
                logits, cache, mask = _joined(base, [(logits, cache, mask), _prefill(base, prepared, late, known)])
            rows += [_Row(index) for index in range(len(rows), len(rows) + len(late))]
            alive += rows[-len(late) :]
        tokens, logprobs = _sample(logits, temperature, generator)
        for row, token, logprob in zip(alive, tokens.tolist(), logprobs.tolist(), strict=True):
            if row.take(token, logprob, max_tokens, stop_token_ids, should_stop):
                on_end(row.index, row.generated)
        kept = [place for place, row in enumerate(alive) if row.reason is None]
        if not kept:
            return [row.generated for row in rows]
        if len(kept) < len(alive):
            chosen = torch.tensor(kept, device=base.device)
            cache.reorder_cache(chosen)
            mask, tokens, alive = mask[chosen], tokens[chosen], [alive[place] for place in kept]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        with base.attached(prepared):
            logits = _decode(base, prepared, tokens, cache, mask)
    raise AssertionError("the loop ends with its last row")


@torch.no_grad()
def check_decodes(base: Base) -> None:
    """Reads two tokens. UserError: the model keeps states where this sampler can't find or join them."""
    cache, ids = new_cache(base.model), torch.tensor([[3, 4]], device=base.device)
    try:
        with base.attached(None):
            body_of(base.model)(input_ids=ids, past_key_values=cache, use_cache=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"the model does not decode with transformers' own cache ({error}); use model.sampler=vllm"
        ) from error
    check_filled(base.model, cache)


@dataclass(slots=True)
class _Row:
    """A completion in the making."""

    index: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: FinishReason | None = None

    @property
    def generated(self) -> Generated:
        assert self.reason is not None
        return tuple(self.tokens), tuple(self.logprobs), self.reason

    def take(
        self, token: int, logprob: float, max_tokens: int, stop_ids: Sequence[int], should_stop: Callable[[int], bool]
    ) -> bool:
        """Adds a token; tells whether it ends the completion."""
        if logprob != logprob:  # NaN
            raise InfrastructureError(
                "the model's logits are not numbers (NaN), so nothing can be sampled; "
                "use model.dtype=float32 or bfloat16, or other weights"
            )
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token in stop_ids:
            self.reason = "stop"
        elif len(self.tokens) >= max_tokens:
            self.reason = "length"
        elif should_stop(self.index):
            self.reason = "abort"
        return self.reason is not None


def _prefill(base: Base, prepared: Prepared, prompts: Sequence[Sequence[int]], known: Prefixes) -> Batch:
    """Returns the prompts as one batch, left-padded. They are read one by one: each begins where a known one ends."""
    read = {prompt: _read(base, prepared, prompt, known) for prompt in dict.fromkeys(map(tuple, prompts))}
    logits, cache, mask = _joined(base, list(read.values()))
    order = torch.tensor([list(read).index(tuple(prompt)) for prompt in prompts], device=base.device)
    cache.reorder_cache(order)
    return logits[order], cache, mask[order]


def _read(base: Base, prepared: Prepared, prompt: tuple[int, ...], known: Prefixes) -> Batch:
    cache = new_cache(base.model)
    shared = known.longest(prompt) if only_keys(cache) else []
    for index, (keys, values) in enumerate(shared):
        cache.update(keys, values, index)
    start = shared[0][0].shape[2] if shared else 0
    mask = torch.ones(1, len(prompt), dtype=torch.long, device=base.device)
    output = body_of(base.model)(
        input_ids=torch.tensor([prompt[start:]], device=base.device),
        attention_mask=mask,
        position_ids=torch.arange(start, len(prompt), device=base.device)[None],
        past_key_values=cache,
        use_cache=True,
    )
    if only_keys(cache):
        known.keep(prompt, cache)
    return prepared.head(output.last_hidden_state[:, -1]), cache, mask


def _joined(base: Base, batches: Sequence[Batch]) -> Batch:
    """Returns batches as one, in a new cache; columns that no row sees any more are left out."""
    masks = [mask[:, int(mask.any(dim=0).long().argmax()) :] for _, _, mask in batches]
    widths = [mask.shape[1] for mask in masks]
    cache = join(new_cache(base.model), [cache for _, cache, _ in batches], widths)
    mask = torch.cat([nn.functional.pad(mask, (max(widths) - mask.shape[1], 0)) for mask in masks])
    return torch.cat([logits for logits, _, _ in batches]), cache, mask


def _decode(base: Base, prepared: Prepared, tokens: Tensor, cache: Any, mask: Tensor) -> Tensor:
    positions = mask.sum(dim=1, keepdim=True) - 1
    body = body_of(base.model)
    output = body(
        input_ids=tokens[:, None], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    return prepared.head(output.last_hidden_state[:, -1])


def _sample(logits: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Samples one token per row of logits (n, vocab); returns it and its log-probability under that distribution."""
    log_probs = torch.log_softmax(logits.float() / temperature, dim=-1)
    tokens = _inverted(log_probs.exp(), generator)
    return tokens[:, 0], log_probs.gather(-1, tokens)[:, 0]


def _inverted(mass: Tensor, generator: torch.Generator) -> Tensor:
    """Samples a column of each row of `mass` (n, vocab) in proportion to it: (n, 1).

    By inversion: one random number a row, where torch.multinomial needs one for each word. It is looked up among the
    sums of blocks, then within one block, so nothing runs through the whole vocabulary in double precision.
    """
    blocks = nn.functional.pad(mass, (0, -mass.shape[1] % _BLOCK)).reshape(len(mass), -1, _BLOCK)
    below = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    point = torch.rand(len(mass), 1, dtype=torch.float64, generator=generator).to(mass.device) * below[:, -1:]
    at = torch.searchsorted(below, point, right=True).clamp_(max=blocks.shape[1] - 1)  # beyond it where mass is NaN
    block = blocks.gather(1, at[:, :, None].expand(-1, -1, _BLOCK))[:, 0].double()
    left = (point - (below.gather(1, at) - block.sum(dim=-1, keepdim=True))).clamp(min=0)
    within = torch.searchsorted(block.cumsum(dim=-1), left, right=True)
    last = (block > 0).long().mul(torch.arange(_BLOCK, device=mass.device)).amax(dim=-1, keepdim=True)
    return at * _BLOCK + torch.minimum(within, last)  # sums are rounded: never past the words that have mass
