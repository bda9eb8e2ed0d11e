"""Prompts for a model whose tokenizer is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

BYTES_A_TOKEN = 3  # of code and prose in the usual vocabularies, rather too few than too many


class PlainText:
    """Takes the place of a tokenizer: the ids of a user turn are its bytes, three at a time, about a token each.

    So limits on the length of prompts hold as well as they can, and the text can be had back from the ids.
    """

    length: int | None = None

    def chat(self, user: str) -> tuple[int, ...]:
        """Returns the ids of a user turn, without the chat template, which the endpoint applies."""
        text = user.encode("utf-8", "surrogatepass")
        parts = (text[at : at + BYTES_A_TOKEN] for at in range(0, len(text), BYTES_A_TOKEN))
        return tuple(int.from_bytes(b"\1" + part) for part in parts)  # the 1 keeps zeros in front

    @staticmethod
    def whole_text(ids: Sequence[int]) -> str:
        """Returns the user turn of these ids."""
        text = b"".join(number.to_bytes(4).lstrip(b"\0")[1:] for number in ids)
        return text.decode("utf-8", "surrogatepass")
