"""Where a model's thinking ends, in the marks of the known families: drafts in it are neither judged nor shown."""

from __future__ import annotations

import re

# What opens and what closes thinking. The others in turn: Seed-OSS; Magistral, Ministral;
# gpt-oss; Gemma 4; EXAONE Deep; Kimi; Reka; Cohere.
MARKS = (
    ("<think>", "</think>"),  # DeepSeek, Qwen, GLM, SmolLM3, Granite, Hunyuan
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel>", "<channel|>"),
    ("<thought>", "</thought>"),
    ("◁think▷", "◁/think▷"),
    ("<reasoning>", "</reasoning>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
_PLAIN_HARMONY = ("analysis", "assistantfinal")  # gpt-oss, where its special tokens were dropped
_WRAPPERS = ("response", "answer")  # of Granite and Hunyuan
_TAG = re.compile(r"(?<![`'\"])</?think>(?![`'\"])")


def without_thinking(text: str) -> str:
    """Returns the part of an answer behind its thinking; "" where thinking was begun and never ended."""
    outside = _outside_tags(text)
    marks = (*MARKS[1:], _PLAIN_HARMONY) if outside.startswith(_PLAIN_HARMONY[0]) else MARKS[1:]
    end = max(outside.rfind(closed) + len(closed) if closed in outside else 0 for _, closed in marks)
    answer = outside[end:]
    if answer.lstrip().startswith(tuple(opened for opened, _ in MARKS[1:])):
        return ""
    return _unwrapped(answer) if end or outside != text else answer


def _unwrapped(answer: str) -> str:
    for name in _WRAPPERS:
        if answer.lstrip().startswith(f"<{name}>"):
            return answer.lstrip()[len(name) + 2 :].rstrip().removesuffix(f"</{name}>")
    return answer


def _outside_tags(text: str) -> str:
    """Returns the text without what stands between `<think>` and `</think>`.

    Thinking ends at the first `</think>`. It begins at a `<think>` at the start of a line, or at the very beginning,
    since the chat template may have opened it. A tag that a sentence only mentions is text.
    """
    kept: list[str] = []
    begin, thinking, seen = 0, False, False
    for tag in _TAG.finditer(text):
        if tag[0] == "<think>" and not thinking and _begins_line(text, tag.start()):
            kept.append(text[begin : tag.start()])
            thinking = seen = True
        elif tag[0] == "</think>" and (thinking or not (seen or _is_mention(text, tag.start(), tag.end()))):
            begin, thinking, seen = tag.end(), False, True
    return "".join(kept if thinking else [*kept, text[begin:]])


def _is_mention(text: str, begin: int, end: int) -> bool:
    """Tells whether a sentence goes on after what stands between `begin` and `end`."""
    return text[begin - 1 : begin] in (" ", "\t", "(") and text[end : end + 1] in tuple(" \t).,;:")


def _begins_line(text: str, position: int) -> bool:
    """Tells whether only blanks or a special token such as `<|assistant|>` stand before `position` on its line."""
    before = text[max(0, position - 16) : position].rpartition("\n")[2].rstrip(" \t\r\ufeff")
    return not before or before.endswith(("|>", "<s>"))
