"""Text to token ids and back, with the model's own chat template.

A user turn quotes what programs printed. Whatever stands in it stays text: none of its characters becomes an added
token (turn marks, tool calls, thinking marks), whether the tokenizer calls that token special or not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from functools import cached_property, partial
from typing import Any

from ttsd.backbone.bounded import bounded
from ttsd.backbone.files import check_tokenizer_files, own_length, sizes_of
from ttsd.backbone.pretrained import Kind, in_full, pretrained
from ttsd.backbone.user_text import UserText
from ttsd.errors import UserError
from ttsd.thinking import MARKS

_USER_TURN = "(user turn)"  # stands for it while the template around it is rendered
_ANSWER = "(answer)"
_PROGRAM = "class A:\n    b = 1"


class Tokenizer:
    """Text to token ids and back, with the model's own chat template."""

    def __init__(
        self,
        inner: Any,
        end_ids: Sequence[int],
        length: int | None,
        *,
        enable_thinking: bool = False,
        system_prompt: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        thinking_end: str | None = None,
    ) -> None:
        """Takes a fast tokenizer of transformers, the model's end tokens and length (None: unknown).

        `chat_template_kwargs`: more variables of the chat template. `thinking_end`: the text that ends the model's
        thinking, where it is none of the known marks.
        """
        self._inner = inner
        self.length = length
        self._user_text = UserText(inner)
        self._system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        self._settings = {"enable_thinking": enable_thinking, **(chat_template_kwargs or {})}
        self._thinking_end = thinking_end
        self.today = date.today()
        _, tail, _ = self._frame
        self.opens_thinking = next((opened for opened, _ in MARKS if tail.rstrip().endswith(opened)), "")
        turn_end = self._turn_end()
        self.stop_token_ids = tuple(dict.fromkeys([*end_ids, *turn_end]))
        if not self.stop_token_ids:
            raise UserError("the model names no token that ends an answer; set eos_token in its tokenizer_config.json")
        self.end_of_turn = (*turn_end, *end_ids)[0]
        self._kept = self._thinking_tokens()
        self.notes = self._notes()

    @classmethod
    def load(cls, path: str, **settings: Any) -> Tokenizer:
        """Returns the tokenizer of the model at `path`; `settings` as for the class.

        UserError: nothing readable at `path`, no chat template, or a template that does not say the question once.
        """
        check_tokenizer_files(path)
        inner = pretrained("AutoTokenizer", path)
        if inner.chat_template is None:
            raise UserError(
                f"the tokenizer of {in_full(path)!r} has no chat template; choose an instruction-tuned model, "
                "or put a chat_template.jinja next to its tokenizer.json"
            )
        if not inner.is_fast:
            raise UserError(f"the tokenizer of {path!r} has no tokenizer.json; choose a model that has one")
        model = _settings("AutoConfig", path)
        ends = _end_ids(inner, _settings("GenerationConfig", path), model)
        loaded = cls(inner, ends, None if model is None else own_length(sizes_of(model)), **settings)
        if (spelled := loaded.decode(loaded.encode(_PROGRAM))) != _PROGRAM:
            raise UserError(
                f"the tokenizer in {in_full(path)!r} can't spell a program: it makes {spelled!r} of {_PROGRAM!r}; copy "
                "the model's own tokenizer.json there"
            )
        if model is not None:
            _check_vocabulary(loaded, model.get_text_config(), path)
        return loaded

    def on(self, today: date) -> Tokenizer:
        """Returns the same tokenizer at another date: a resumed run reads the date on which it began."""
        other = copy.copy(self)
        other.today = today
        other.__dict__.pop("_frame", None)
        return other

    def chat(self, user: str) -> tuple[int, ...]:
        """Returns the token ids of the system message (if any), one user turn, and the opening of the answer."""
        head, tail, strips = self._frame
        return self._user_text.between(head, user.strip() if strips else user, tail)

    @cached_property
    def _frame(self) -> tuple[str, str, bool]:
        """Returns what the template puts around the user's text, and whether it strips the text, as many do."""
        head, tail = self._around(_USER_TURN)
        return head, tail, self._rendered(f" {_USER_TURN}\n") == head + _USER_TURN + tail

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._inner.encode(text, add_special_tokens=False))

    def answer(self, ids: Sequence[int]) -> str:
        """Returns the text of a completion: without special tokens, but with the marks of thinking."""
        parts, begin = [self.opens_thinking], 0
        for at, token in enumerate(ids):
            if token in self._kept:
                parts += [self.decode(ids[begin:at]), self._kept[token]]
                begin = at + 1
        text = "".join([*parts, self.decode(ids[begin:])])
        return text.replace(self._thinking_end, MARKS[0][1]) if self._thinking_end else text

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids` without special tokens."""
        return str(self._inner.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def whole_text(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, special tokens included."""
        return str(self._inner.decode(list(ids), clean_up_tokenization_spaces=False))

    def _around(self, user: str) -> tuple[str, str]:
        """Returns what the template puts in front of the user's text and behind it."""
        parts = self._rendered(user).split(user)
        if len(parts) != 2:
            raise UserError(
                f"the chat template says the question {len(parts) - 1} times instead of once; "
                "put another chat_template.jinja next to the model's tokenizer.json"
            )
        return parts[0], parts[1]

    def _rendered(self, user: str, answer: str | None = None, **settings: Any) -> str:
        turns = [*self._system, {"role": "user", "content": user}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        values = {**self._settings, **settings, "strftime_now": self.today.strftime}
        render = partial(
            self._inner.apply_chat_template, turns, add_generation_prompt=answer is None, tokenize=False, **values
        )
        try:
            return bounded(render)
        except ValueError as error:
            remedy = "leave model.system_prompt empty" if self._system else "set model.system_prompt"
            raise UserError(
                f"the chat template fails ({error}); {remedy}, check model.chat_template_kwargs, or put another "
                "chat_template.jinja next to the model's tokenizer.json"
            ) from error

    def _turn_end(self) -> list[int]:
        """Returns the token with which the template ends an answer, if that is an added one."""
        try:
            _, _, end = self._rendered(_USER_TURN, _ANSWER).rpartition(_ANSWER)
        except UserError:
            return []
        first = self.encode(end.lstrip())[:1]
        return [token for token in first if token in self._user_text.added]

    def _thinking_tokens(self) -> dict[int, str]:
        """Returns the special tokens that marks of thinking are made of, with their text."""
        marks = [mark for pair in MARKS for mark in pair] + ([self._thinking_end] if self._thinking_end else [])
        special = self._inner.added_tokens_decoder.items()
        return {
            number: token.content
            for number, token in special
            if token.special and any(token.content in mark for mark in marks)
        }

    def _notes(self) -> tuple[str, ...]:
        """Returns what a user should know of settings that the template ignores, a sentence each."""
        found = []
        template = self._inner.chat_template
        texts = [str(template), *(token.content for token in self._inner.added_tokens_decoder.values())]
        thinks = any(opened in text for text in texts for opened, _ in MARKS)
        wanted = bool(self._settings["enable_thinking"])
        if thinks and not wanted and self._rendered(_USER_TURN, enable_thinking=True) == self._rendered(_USER_TURN):
            found.append("the chat template ignores model.enable_thinking=false, so the model may think all the same")
        for name in self._settings.keys() - {"enable_thinking"}:
            if name not in str(template):
                found.append(f"the chat template knows no {name}, so model.chat_template_kwargs has no effect there")
        return tuple(found)


def _settings(kind: Kind, path: str) -> Any:
    """Returns what the model's folder says of that kind; None: it holds a tokenizer alone."""
    try:
        return pretrained(kind, path)
    except UserError:
        return None


def _end_ids(inner: Any, *settings: Any) -> list[int]:
    """Returns the end tokens that the tokenizer and the model's settings name. UserError: one is no number."""
    found = [inner.eos_token_id]
    for part in (part for one in settings for part in (one, getattr(one, "text_config", None))):
        listed = getattr(part, "eos_token_id", None)
        found += listed if isinstance(listed, list) else [listed]
    named = [token for token in found if token is not None]
    if odd := [token for token in named if type(token) is not int]:
        raise UserError(
            f"the end token {odd[0]!r} is no number of a token; correct eos_token_id in the model's config.json and "
            "generation_config.json"
        )
    return [token for token in dict.fromkeys(named) if token >= 0]


def _check_vocabulary(tokenizer: Tokenizer, settings: Any, path: str) -> None:
    """Checks that the tokenizer has the model's end, and the model its tokens. UserError: it is another model's."""
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    vocabulary = set(tokenizer._inner.get_vocab().values())
    text, known = vocabulary - tokenizer._user_text.added, 1 + max(vocabulary)
    foreign = [number for number in (*tokenizer.chat(_PROGRAM), *sorted(text)) if number >= settings.vocab_size]
    unknown = [number for number in ends if number is not None and number >= known]
    if foreign or (unknown and len(unknown) == len(ends)):
        fault = f"gives token {foreign[0]}" if foreign else f"lacks the model's end token {unknown[0]}"
        raise UserError(
            f"the tokenizer in {in_full(path)!r} belongs to another model: it {fault}, of {settings.vocab_size} tokens "
            "of the model; copy the model's own tokenizer files there"
        )
