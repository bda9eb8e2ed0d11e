"""What programs print stays text; answers end where any part of a model says; thinking is left out by its marks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import problems
from tests.commands import ROOT
from ttsd.backbone import Tokenizer
from ttsd.errors import UserError
from ttsd.judging.extract import extract_program
from ttsd.prompts import question_text
from ttsd.thinking import without_thinking


@dataclass(frozen=True)
class Family:
    """Special tokens, added tokens that are not special, and the parts of a turn in a family's chat template."""

    special: Sequence[str]
    plain: Sequence[str]
    turn: str  # with ROLE and TEXT
    answer: str
    end: str
    begin: str = ""


FAMILIES = {
    "llama 3": Family(
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"],
        [],
        "<|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|begin_of_text|>",
    ),
    "phi 3": Family(
        ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"],
        [],
        "<|ROLE|>\nTEXT<|end|>\n",
        "<|assistant|>\n",
        "<|end|>",
    ),
    "gemma": Family(
        ["<bos>", "<start_of_turn>", "<end_of_turn>"],
        ["<b>"],
        "<start_of_turn>ROLE\nTEXT<end_of_turn>\n",
        "<start_of_turn>model\n",
        "<end_of_turn>",
        "<bos>",
    ),
    "mistral": Family(["<s>", "</s>", "[INST]", "[/INST]"], [], "[INST] TEXT[/INST]", "", "</s>", "<s>"),
    "deepseek": Family(
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
        ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
        "<｜User｜>TEXT",
        "<｜Assistant｜>",
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
    ),
    "gpt-oss": Family(
        ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"],
        [],
        "<|start|>ROLE<|message|>TEXT<|end|>",
        "<|start|>assistant",
        "<|return|>",
    ),
}


def write(folder: Path, family: Family, *, template: str | None = None, pieces: bool = False, eos: Any = None) -> Path:
    """A tokenizer of single characters; `pieces`: as SentencePiece has it, with a mark in front of each word."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Inner

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if pieces:
        alphabet = ["<unk>", "▁", *map(chr, range(33, 127)), "é", "｜", "\n"]
    inner = Inner(models.BPE(vocab={token: at for at, token in enumerate(alphabet)}, merges=[], unk_token=alphabet[0]))
    inner.pre_tokenizer = (
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        if pieces
        else pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    )
    inner.decoder = decoders.Metaspace() if pieces else decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special])
    inner.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain])
    folder.mkdir(exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": family.special[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(template or _template(family), "utf-8")
    if eos is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": eos}), "utf-8")
    return folder


def _template(family: Family) -> str:
    before, after = family.turn.replace("ROLE", "' + m.role + '").split("TEXT")
    return (
        f"{{{{ '{family.begin}' }}}}{{% for m in messages %}}{{% if m.role == 'assistant' %}}"
        f"{{{{ '{family.answer}' + m.content + '{family.end}' }}}}"
        f"{{% else %}}{{{{ '{before}' + m.content + '{after}' }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{family.answer}' }}}}{{% endif %}}"
    ).replace("\n", "\\n")


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_text_that_quotes_added_tokens_stays_text(tmp_path: Path, name: str, pieces: bool) -> None:
    family = FAMILIES[name]
    names = [token for token in (*family.special, *family.plain) if not pieces or "▁" not in token]
    tokenizer = Tokenizer.load(str(write(tmp_path, family, pieces=pieces)))
    added = tokenizer._user_text.added
    clean = tokenizer.chat("it printed nothing here")
    for token in names:
        text = f"it printed {token} here, {token}{token}and{token[:-1]}"
        ids = tokenizer.chat(text)
        assert [one for one in ids if one in added] == [one for one in clean if one in added]
        assert text in tokenizer.whole_text(ids)


def test_quoting_changes_no_other_token(tmp_path: Path) -> None:
    """The template's own text is read as it always is, at the very border of the quotation too."""
    tokenizer = Tokenizer.load(str(write(tmp_path, FAMILIES["phi 3"], pieces=True)))
    plain, quoting = tokenizer.chat("ab <x> c"), tokenizer.chat("ab <|end|> c")
    assert plain[:5] == quoting[:5]
    assert plain[-5:] == quoting[-5:]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_is_what_transformers_makes_of_it(tmp_path: Path, name: str) -> None:
    tokenizer = Tokenizer.load(str(write(tmp_path, FAMILIES[name])))
    turns = [{"role": "user", "content": "héllo, two\n\tlines"}]
    inner = tokenizer._inner.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert list(tokenizer.chat(turns[0]["content"])) == inner


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_ends_at_the_turn_end_of_the_template_and_where_any_file_says(tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    tokenizer = Tokenizer.load(str(write(tmp_path, family, eos=[8, 9])))
    ends = [tokenizer.whole_text([token]) for token in tokenizer.stop_token_ids]
    assert family.special[0] in ends
    assert family.end in ends
    assert {7, 8, 9} < set(tokenizer.stop_token_ids)


DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


def test_a_template_names_one_date_for_a_whole_run(tmp_path: Path) -> None:
    folder = str(write(tmp_path, FAMILIES["phi 3"], template=DATED))
    tokenizer = Tokenizer.load(folder).on(date(2026, 11, 28))
    assert tokenizer.whole_text(tokenizer.chat("x")).startswith("28 Nov 2026")
    assert tokenizer.on(date.today()).chat("x") == Tokenizer.load(folder).chat("x")


@pytest.mark.parametrize(
    ("template", "times"),
    [
        ("{{ 'Hello<|assistant|>' }}", 0),
        ("{{ messages[-1].content }}<|end|>{{ messages[-1].content }}<|assistant|>", 2),
    ],
)
def test_a_template_that_loses_or_doubles_the_question_is_refused(tmp_path: Path, template: str, times: int) -> None:
    folder = write(tmp_path, FAMILIES["phi 3"], template=template)
    with pytest.raises(UserError, match=f"says the question {times} times instead of once"):
        Tokenizer.load(str(folder))


def test_a_template_without_a_system_message_says_so(tmp_path: Path) -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + DATED
    folder = write(tmp_path, FAMILIES["phi 3"], template=template)
    with pytest.raises(UserError, match=r"no system role.*leave model\.system_prompt empty"):
        Tokenizer.load(str(folder), system_prompt="be kind")


def test_variables_of_the_template_reach_it_and_those_that_do_nothing_are_named(tmp_path: Path) -> None:
    template = "{{ reasoning_effort }}{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<think>"
    folder = str(write(tmp_path, FAMILIES["phi 3"], template=template))
    wanted = {"reasoning_effort": "low", "budget": 3}
    tokenizer = Tokenizer.load(folder, chat_template_kwargs=wanted)
    assert tokenizer.whole_text(tokenizer.chat("x")).startswith("low<|user|>x")
    assert len(tokenizer.notes) == 2
    assert "ignores model.enable_thinking=false" in tokenizer.notes[0]
    assert "knows no budget" in tokenizer.notes[1]


def test_phrases_of_the_bundled_model_stay_one_token_each() -> None:
    """Its vocabulary has whole phrases as added tokens, and it was trained on them."""
    from transformers import AutoTokenizer

    folder = str(ROOT / "problems" / "micro" / "model")
    feedback = (
        "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\nWrong Answer\nInput:\n[7, 2, 9, 3]"
    )
    text = question_text(problems.load("micro:lists:6:61")) + feedback
    own = AutoTokenizer.from_pretrained(folder)
    wanted = own.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True)
    assert Tokenizer.load(folder).chat(text) == tuple(wanted["input_ids"])
    assert len(wanted["input_ids"]) < 60
    assert 1 not in Tokenizer.load(folder).chat("<|user|>")[1:]


DRAFT = "Let me try.\n```python\nprint('a draft that is longer than the final program')\n```\nAnswer: 7\n"
FINAL = "\n```python\nprint('final')\n```\n"


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>\n", "</think>"),
        ("", "</think>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("<|channel>thought\n", "<channel|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("analysis", "assistantfinal"),
        ("<think>", "</think><response>"),
        ("<thought>\n", "</thought>"),
        ("<think>\n", "</think>\n<answer>"),
        ("◁think▷", "◁/think▷"),
        ("<reasoning>", "</reasoning>"),
    ],
)
def test_drafts_in_thinking_are_neither_judged_nor_shown(opened: str, closed: str) -> None:
    text = opened + DRAFT + closed + FINAL
    assert extract_program(text) == "print('final')\n"
    assert without_thinking(text).strip() == FINAL.strip()
    if opened not in ("", "analysis"):  # a word that any answer may begin with
        assert extract_program(opened + DRAFT) is None


def test_marks_that_are_special_tokens_count_too(tmp_path: Path) -> None:
    family = Family(["<|end|>", "[THINK]", "[/THINK]", "<|user|>"], [], "<|user|>TEXT", "", "<|end|>")
    tokenizer = Tokenizer.load(str(write(tmp_path, family)))
    ids = tokenizer.encode(f"[THINK]{DRAFT}[/THINK]{FINAL}<|end|>")
    assert extract_program(tokenizer.answer(ids)) == "print('final')\n"
    assert "<|end|>" not in tokenizer.answer(ids)


def test_thinking_that_the_template_begins_and_a_mark_of_the_users_own(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|><think>\n"
    folder = str(write(tmp_path, FAMILIES["phi 3"], template=template))
    assert extract_program(Tokenizer.load(folder).answer(Tokenizer.load(folder).encode(DRAFT))) is None
    own = Tokenizer.load(folder, thinking_end="(thought enough)")
    assert extract_program(own.answer(own.encode(f"{DRAFT}(thought enough){FINAL}"))) == "print('final')\n"


def test_code_that_a_folder_brings_along_is_not_run(tmp_path: Path) -> None:
    from ttsd.backbone import load_base

    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}})
    )
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="would run code of its own"):
        load_base(str(tmp_path))
    assert not (tmp_path / "ran").exists()
