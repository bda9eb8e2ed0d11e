"""Where a model's thinking ends, in the marks of the known families: drafts in it are neither judged nor shown."""

from __future__ import annotations

# What opens and what closes thinking. DeepSeek, Qwen, GLM, SmolLM3, Granite, Hunyuan; Seed-OSS; Magistral, Ministral;
# gpt-oss; Gemma 4; EXAONE Deep; Kimi; Reka; Cohere.
MARKS = (
    ("<think>", "</think>"),
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


def without_thinking(text: str) -> str:
    """Returns the part of an answer behind its thinking; "" where thinking was begun and never ended."""
    marks = (*MARKS, _PLAIN_HARMONY) if text.startswith(_PLAIN_HARMONY[0]) else MARKS
    end = max(text.rfind(closed) + len(closed) if closed in text else 0 for _, closed in marks)
    answer = text[end:]
    if answer.lstrip().startswith(tuple(opened for opened, _ in MARKS)):
        return ""
    return _unwrapped(answer) if end else answer


def _unwrapped(answer: str) -> str:
    for name in _WRAPPERS:
        if answer.lstrip().startswith(f"<{name}>"):
            return answer.lstrip()[len(name) + 2 :].rstrip().removesuffix(f"</{name}>")
    return answer
