"""Text to token ids and back, with the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttsd.backbone.files import loaded
from ttsd.errors import UserError

_USER_TURN = "(user turn)"  # stands for it while the template around it is rendered


class Tokenizer:
    """Text to token ids and back, with the model's own chat template."""

    def __init__(self, inner: Any, stop_token_ids: tuple[int, ...], enable_thinking: bool, system: str | None) -> None:
        self._inner = inner
        self.stop_token_ids = stop_token_ids
        self._thinking = enable_thinking
        self._system = [] if system is None else [{"role": "system", "content": system}]

    @classmethod
    def load(cls, path: str, *, enable_thinking: bool = False, system_prompt: str | None = None) -> Tokenizer:
        """Loads it. UserError: nothing readable at `path`, or no chat template."""
        from transformers import AutoTokenizer

        inner = loaded("tokenizer", path, lambda: AutoTokenizer.from_pretrained(path))
        if inner.chat_template is None:
            raise UserError(
                f"the tokenizer of {path!r} has no chat template; choose an instruction-tuned model, "
                "or put a chat_template.jinja next to its tokenizer.json"
            )
        return cls(inner, _stop_token_ids(inner, path), enable_thinking, system_prompt)

    def chat(self, user: str) -> tuple[int, ...]:
        """Returns token ids of the system message (if any), one user turn, and the opening of the assistant's turn.

        A user turn quotes what programs printed; a special token's name in it stays text and ends no turn.
        """
        if not any(name in user for name in self._inner.all_special_tokens):
            return self.encode(self._rendered(user))
        head, tail = self._rendered(_USER_TURN).split(_USER_TURN)
        quoted = self._inner.encode(user, add_special_tokens=False, split_special_tokens=True)
        return (*self.encode(head), *quoted, *self.encode(tail))

    def _rendered(self, user: str) -> str:
        turns = [*self._system, {"role": "user", "content": user}]
        return str(
            self._inner.apply_chat_template(
                turns, add_generation_prompt=True, enable_thinking=self._thinking, tokenize=False
            )
        )

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._inner.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids` without special tokens."""
        return str(self._inner.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def whole_text(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, special tokens included."""
        return str(self._inner.decode(list(ids), clean_up_tokenization_spaces=False))

    def token_text(self, token_id: int) -> str:
        """Returns one token as text, special tokens included."""
        return self.whole_text([token_id])


def _stop_token_ids(inner: Any, path: str) -> tuple[int, ...]:
    from transformers import GenerationConfig

    ids = [] if inner.eos_token_id is None else [inner.eos_token_id]
    try:
        listed = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:
        listed = None
    more = listed if isinstance(listed, list) else [listed] if listed is not None else []
    return tuple(dict.fromkeys([*ids, *more]))
