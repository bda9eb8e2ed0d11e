"""Token ids of text that a chat template surrounds; none is a token that steers the model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ttsd.errors import UserError

_MARK = re.compile(r"\s*(<.*>|◁.*▷|\[/?[A-Za-z]\w*\]|\[\|.*\|\])\s*\Z", re.DOTALL)  # JSON lists have no such shape


class UserText:
    """Encodes a user turn within its template, with a fast tokenizer of transformers."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        # Runs of blanks (Phi-2, GPT-NeoX) and whole phrases (the bundled model) are added tokens in some vocabularies;
        # they are text and steer nothing. What steers is special, or has the shape of a mark, or is in the template.
        template = str(inner.chat_template)
        self.added = frozenset(
            number
            for number, token in inner.added_tokens_decoder.items()
            if token.special or _MARK.match(token.content) or (token.content.strip() and token.content in template)
        )

    def between(self, head: str, text: str, tail: str) -> tuple[int, ...]:
        """Returns the ids of `head + text + tail`; added tokens come from `head` and `tail` alone.

        UserError: the vocabulary can't spell the text.
        """
        whole = self._encode(head + text + tail)
        if self._count(whole) == self._count(self._encode(head)) + self._count(self._encode(tail)):
            return whole
        begin = max((end for _, end in self._spans(head)), default=0)  # of the last added token
        end = min((begin for begin, _ in self._spans(tail)), default=len(tail))
        middle = self._spelled(head[begin:] + text + tail[:end])
        ids = (*self._encode(head[:begin]), *middle, *self._encode(tail[end:]))
        if self._count(middle):
            raise UserError("the tokenizer turns text into control tokens; choose another model")
        return ids

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._inner.encode(text, add_special_tokens=False))

    def _count(self, ids: Sequence[int]) -> int:
        return sum(token in self.added for token in ids)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        found = self._inner(text, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
        return [span for token, span in pairs if token in self.added]

    @cached_property
    def _plain(self) -> Any:
        """Returns the same tokenizer without added tokens and without a beginning, since text stands before it."""
        from tokenizers import Tokenizer

        parts = json.loads(self._inner.backend_tokenizer.to_str())
        parts |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        for part in _components(parts.get("pre_tokenizer")):
            if part.get("prepend_scheme") == "first":
                part["prepend_scheme"] = "never"
        return Tokenizer.from_str(json.dumps(parts))

    def _spelled(self, text: str) -> list[int]:
        """Returns the ids of `text`, with tokens that are added ones too spelled by their characters."""
        spelled = []
        for token in self._plain.encode(text, add_special_tokens=False).ids:
            if token not in self.added:
                spelled.append(token)
                continue
            letters = [self._plain.token_to_id(letter) for letter in self._plain.id_to_token(token)]
            if None in letters:
                raise UserError("the tokenizer can't spell its own control tokens as text; choose another model")
            spelled += letters
        return spelled


def _components(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Returns a component of a tokenizer and, of a sequence, its members."""
    return [] if part is None else [part, *part.get("pretokenizers", [])]
