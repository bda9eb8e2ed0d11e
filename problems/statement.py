"""Finds in a statement's words what it grants: an error of numbers, any case of letters, several right answers.

English only, and by the phrases that contests use: what is found is shown by `ttsd problems show` and `check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from problems.checker import Checker

MAX_CHARACTERS = 200_000
MAX_SENTENCE = 1000  # what is longer is cut: the patterns' time may grow with the square
_SENTENCES = re.compile(r"\n\s*\n|\n\s*[-*•]\s|(?<=[.!?])[\"')\]]?\s")
_MINUS = r"\s?[-−–]\s?"
_SMALL = re.compile(
    rf"10\s?(?:\^|\*\*|<sup>)?\s?[{{(]?{_MINUS}(?P<power>\d{{1,2}})|1?(?:\.0)?[eE]{_MINUS}(?P<e>\d{{1,2}})"
    r"|(?P<decimal>0\.0*[1-9]\d*)|(?P<places>\d+)\s(?:decimal\s(?:places|digits)|digits\safter)"
    r"|10(?P<raised>⁻[⁰¹²³⁴-⁹]+)"
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_ERROR = re.compile(r"\b(?:error|within|precision|accura\w+|tolerance|differ\w*|off\sby|deviat\w+|correct\sto)\b", re.I)
_DISTANCE = re.compile(r"\b(?:within|differ\w*|off\sby)\b", re.I)
_GRANT = re.compile(
    r"\b(?:accept\w*|correct\w*|allow\w*|exceed\w*|at\smost|less\sthan|no\smore|not\smore|up\sto|permitted|fine|ignored"
    r"|tolerated|within|judged|should\sbe|must\sbe|smaller\sthan|not\sgreater)\b",
    re.I,
)
_NO_GRANT = re.compile(r"\b(?:guarantee\w*|round(?:ed|ing)?|exactly\s\d+)\b", re.I)

_ANY_CASE = re.compile(
    r"\b(?:judge|checker|grader|output|answers?)\b.{0,40}\bcase[-\s]insensitive"
    r"|\bcase[-\s]insensitive(?:ly)?\b.{0,40}\b(?:judg\w+|checker|answers?|accept\w*)"
    r"|\b(?:print|output|letters?|answer)\b.{0,60}\bin\s(?:any|either|arbitrary)\s(?:case|register)\b"
    r"|\b(?:upper|lower)[-\s]?case\sor\s(?:upper|lower)[-\s]?case\b.{0,60}\b(?:accept\w*|allow\w*|fine|matter)"
    r"|\bcase\s(?:of\s(?:the\s|each\s)?(?:letters?|characters?|output)\s)?(?:does\snot|doesn't|is\snot|will\snot)\s"
    r"(?:matter|important|be\s)",
    re.I | re.S,
)

_SAY = r"\b(?:print|output|return|find|give|provide|construct|report|write|display|produce|list|submit)(?:s|ing|ed)?\b"
_NO_GRANT_BEFORE_ANY = ("if", "that", "for", "of", "at", "in", "than", "from", "to", "with", "by", "whether")
_ANY = "".join(rf"(?<!\b{word}\s)" for word in _NO_GRANT_BEFORE_ANY) + "(?:any|either)"
_VALID = r"(?:valid|correct|possible|such|suitable|optimal|acceptable|appropriate|feasible|satisfying|other)"
_THING = (
    r"(?:answer|solution|output|order|permutation|array|string|sequence|pair|path|subset|arrangement|assignment|set"
    r"|tree|graph|matrix|grid|integer|value|element|number|list|way|choice|construction|partition|cycle|route|plan)s?"
)
_THEM = r"(?:them|these|those|the\s(?!following|two\b|three\b|words?\b|strings?\b)\w+)"
_MANY = r"\b(?:multiple|several|(?<!how\s)many|more\sthan\sone|two\sor\smore)\b"
_ANY_ORDER = r"\bin\s(?:any|arbitrary|an\sarbitrary|whatever|no\sparticular)\sorder\b"
_SEVERAL = re.compile(
    "|".join(
        [
            rf"{_SAY}(?:\W+\w+){{0,3}}?\W+{_ANY}(?:\sone)?(?:\sof\s{_THEM})?\s*(?:[.,;:)!(]|$)",
            rf"{_SAY}(?:\s\w+){{0,2}}?\s{_ANY}(?:\sone)?\sof\s{_THEM}",
            rf"{_SAY}(?:\s\w+){{0,2}}?\s{_ANY}\s(?:\w+\s)?(?:{_VALID}|{_THING}(?<!number)|number(?!\sof))\b",
            rf"{_SAY}(?:\s\w+){{0,2}}?\s(?:only\s)?one\sof\s{_THEM}",
            rf"{_SAY}(?:\s\w+){{0,2}}?\s(?:an\s)?arbitrar(?:y|ily)\b(?!\sorder)",
            rf"\b(?:any|either)(?:\sone)?\sof\s{_THEM}\b[^.]{{0,40}}\b(?:accept|correct|valid|fine|allow|consider)",
            rf"\b(?:any|either|all|every|each)\s(?:(?:{_VALID}|one)\s)*{_THING}\b[^.]{{0,60}}\b(?:accepted|acceptable"
            r"|considered\scorrect|fine|allowed|judged)\b",
            rf"{_MANY}[^.]{{0,80}}\b(?:whichever\syou|(?:any|either)\s*(?:\b(?:one|of|is|will|can|may)\b|{_VALID}|[.,;:]|$))"
            r"(?![^.]*\b(?:smallest|largest|lexicographic|minimum|maximum|leftmost|first|earliest))",
            r"\b(?:any|either|each)(?:\sone)?(?:\sof\s(?:them|these|those))?\s(?:will\s(?:do|be\s(?:fine|accepted))"
            r"|is\s(?:fine|ok|okay|accepted|acceptable))\b",
            rf"\b(?:not|n't)\smatter\b[^.]{{0,40}}{_SAY}|{_SAY}[^.]{{0,40}}\b(?:not|n't)\smatter\b|{_SAY}\swhichever\syou\b",
            r"\bonly\s(?:need|have)\sto\s\w+\sone\b|\bties?\b[^.]{0,30}\barbitrar",
            r"\b(?:answer|solution|output)s?\b[^.]{0,30}\b(?:not|never)\s(?:be\s|necessarily\s)?unique\b|\bspecial\sjudge\b",
            r"\border\sof\s(?:the\s)?(?:output|answers?|results?|(?:printed|returned)\s\w+)\b[^.]{0,40}\b(?:not|n't|irrelevant)",
        ]
    ),
    re.I,
)
_NEGATED = re.compile(rf"(?:\b(?:not|never|without|cannot)|n't)\s(?:\w+\s)?{_SAY}", re.I)
_UNORDERED = re.compile(
    rf"{_SAY}.*{_ANY_ORDER}"
    rf"|\b(?:answer|output|solution|result|they|edges|elements|numbers|indices|values)\b.{{0,60}}\b(?:can|may)\b"
    rf".{{0,40}}{_ANY_ORDER}",
    re.I,
)
_NO_OUTPUT_ORDER = re.compile(
    r"\b(?:operations?|perform\w*|number\sof|how\smany|count|whether|minim\w+|maxim\w+|sum|cost|true\sif|moves?|times)\b",
    re.I,
)


def says_several_answers(statement: str) -> bool:
    """Tells whether the statement seems to allow several right outputs, while each case has one.

    What it says of tolerances and of the case of letters does not count: `granted` returns a checker for these.
    """
    return any(_says_several(sentence) for sentence in _sentences(statement))


def _says_several(sentence: str) -> bool:
    if granted(sentence) is not None or _NEGATED.search(sentence):
        return False
    if _UNORDERED.search(sentence) and not _NO_OUTPUT_ORDER.search(sentence):
        return True
    return _SEVERAL.search(sentence) is not None


def granted(statement: str) -> Checker | None:
    """Returns the checker that the statement asks for; None where it asks for none that is built in."""
    for sentence in _sentences(statement):
        if (tolerance := _tolerance(sentence)) is not None:
            return tolerance
        if _ANY_CASE.search(sentence):
            return Checker("case-insensitive", granted=True)
    return None


def _tolerance(sentence: str) -> Checker | None:
    if not _ERROR.search(sentence) or not _GRANT.search(sentence) or _NO_GRANT.search(sentence):
        return None
    found = _SMALL.search(sentence)
    size = _size(found) if found else 1.0
    if not 0 < size < 1:
        return None
    absolute, relative = ("absolute" in sentence.lower(), "relative" in sentence.lower())
    if not absolute and not relative:
        absolute, relative = True, _DISTANCE.search(sentence) is None
    return Checker("floats", size * absolute, size * relative, granted=True)


def _size(found: re.Match[str]) -> float:
    if found["decimal"]:
        return float(found["decimal"])
    digits = found["power"] or found["e"] or found["places"] or found["raised"][1:].translate(_RAISED)
    return float(f"1e-{digits}")


def _sentences(statement: str) -> Iterator[str]:
    for sentence in _SENTENCES.split(statement[:MAX_CHARACTERS].replace("$", "").replace("\r", "")):
        words = " ".join(sentence.split())
        yield from (words[begin : begin + MAX_SENTENCE] for begin in range(0, len(words), MAX_SENTENCE))
