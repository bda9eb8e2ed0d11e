"""One word for one meaning, docstrings that begin with a verb, short functions, and one form for every message."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from tests.commands import ROOT

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

# What is retired -> what is said instead.
RETIRED = {
    r"readings?": "prompt",
    r"hindsight": "context, feedback, or a demonstration",
    r"lessons?": "example",
    r"rollouts?": "attempt",
    r"draws?|drawn|drawing": "sample, show",
    r"lend|lends|lent|lending|borrow\w*": "attach",
    r"readied": "prepared",
    r"mends?": "correct",
    r"self-test": "log-probability parity check",
    r"beside": "next to, besides",
    r"anew": "again",
    r"told": "said, received",
    r"whoever": "who",
    r"dearer": "more expensive",
    r"cards?": "GPU",
    r"arms?": "variant",
    r"of which|such as have|goes before": "a sentence with its subject first",
}
COVERED = ("ttsd", "problems", "sandbox", "tools", "configs", "examples", "docs", "README.md")
# Where such a word is right: the names of the paper's code, and a model card.
RIGHT = re.compile(
    r"rollout[._](is|n|name|dtype|max|gpu|tensor|temperature|top|correction)\w*|`rollout`|actor_rollout_ref|rollout IS"
    r"|number of rollouts|(model card|CARD|\bcard)\b"
)
NOUNS = {
    "Bytes",
    "Tokens",
    "Completions",
    "Logits",
    "Rows",
    "Weights",
    "Bounds",
    "Lines",
    "Attempts",
    "Numbers",
    "Parts",
}
NOUNS |= {"Factors", "Programs", "Rewards", "Questions", "Settings", "Cases", "Findings", "Words", "Files", "Values"}
NOUNS |= {"Parts", "As", "Its", "This", "Pairs", "Steps", "Columns", "Prompts", "Versions", "Results"}


def tracked(*kinds: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if name.endswith(kinds) and (ROOT / name).is_file()]


def words_in(path: Path) -> list[str]:
    """Returns the retired words of a file with their line."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    return [f"{path}:{number}: {word}" for number, line in lines for word in retired_in(line)]


def retired_in(line: str) -> list[str]:
    """Returns the retired words of a line; identifiers are divided at underscores and capitals."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", RIGHT.sub("", line))
    return re.findall(rf"(?<![A-Za-z])(?:{'|'.join(RETIRED)})(?![A-Za-z])", words, re.I)


def test_retired_words_stay_out() -> None:
    """Of the program's own text and its pages: tests may speak of a deck of cards in a question."""
    paths = [
        path
        for path in tracked(".py", ".toml", ".jinja", ".js", ".css", ".md")
        if path.relative_to(ROOT).parts[0] in COVERED and "notes" not in path.parts
    ]
    assert len(paths) > 150
    found = [place for path in paths for place in words_in(path)]
    assert not found, "\n".join([*found, "say instead: " + "; ".join(f"{a}: {b}" for a, b in RETIRED.items())])


def test_a_retired_word_would_be_found() -> None:
    lines = (
        "# its readings",
        "rollout_count = 1",
        "x = drawn(y)",
        "it is lent to a layer",
        "_lent = None",
        "LentLayer",
    )
    assert [line for line in lines if not retired_in(line)] == []
    assert [line for line in ("rollout_is_threshold", "the thread is spread", "drawer") if retired_in(line)] == []


# What a user reads of an error, by the class that carries it.
MESSAGES = ("UserError", "RunHeld", "InfrastructureError", "ProblemError", "ScorerError", "SandboxFault", "Finding")


def messages_in(source: str) -> list[tuple[int, str, str]]:
    """Returns line, first and last literal part of each message; `{}` stands for a value."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in MESSAGES:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            texts = [part for part in map(literal_parts, given) if part]
            found += [(node.lineno, parts[0], parts[-1]) for parts in texts]
    return found


def literal_parts(node: ast.expr) -> list[str]:
    """Returns a text's parts, `{}` for each value; nothing of what is no literal text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [part.value if isinstance(part, ast.Constant) else "{}" for part in values]
        case ast.BinOp(left=left, right=right):
            return literal_parts(left) + literal_parts(right)
        case ast.IfExp(body=body, orelse=other):
            return literal_parts(body) + literal_parts(other)
    return []


def ill_formed(first: str, last: str) -> bool:
    """Tells whether a message starts with a capital, which only names like LoRA may, or ends with a full stop."""
    return bool(re.match(r"[A-Z](?:[a-z']*)(?![A-Za-z])", first)) or last.rstrip().endswith(".")


def test_messages_start_with_a_lower_case_letter_and_end_without_a_full_stop() -> None:
    paths = [path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in ("ttsd", "problems", "sandbox")]
    found = [(f"{path}:{line}", first, last) for path in paths for line, first, last in messages_in(path.read_text())]
    assert len(found) > 300
    assert [message for message in found if ill_formed(*message[1:])] == []


def test_an_ill_formed_message_would_be_found() -> None:
    wrong = (
        'raise UserError("There is none")',
        'ProblemError(f"{name} is wrong: " f"correct {it}.")',
        'X.UserError("a.")',
    )
    right = ('raise UserError("LoRA is " + kind)', 'UserError(f"{name} is {kind}")', 'ValueError("It is.")')
    judged = [any(ill_formed(*parts) for _, *parts in messages_in(source)) for source in (*wrong, *right)]
    assert judged == [True, True, True, False, False, False]


def functions() -> list[tuple[str, str]]:
    """Returns place and docstring of each function; what typer prints as help is in the imperative."""
    found = []
    for path in tracked(".py"):
        place = path.relative_to(ROOT)
        if place.parts[0] in ("ttsd", "problems", "sandbox", "tools"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, FUNCTION) and ("cli" not in place.parts or node.name.startswith("_")):
                    found.append((f"{place}:{node.lineno}", ast.get_docstring(node) or ""))
    return [(place, text) for place, text in found if text]


def test_docstrings_begin_with_a_verb() -> None:
    found = functions()
    assert len(found) > 500
    begin = [(place, text.split()[0].rstrip(",;:")) for place, text in found]
    assert [one for one in begin if not re.fullmatch(r"[A-Z][a-z-]+s", one[1]) or one[1] in NOUNS] == []


def test_functions_and_files_stay_short() -> None:
    long = []
    for path in tracked(".py"):
        if path.relative_to(ROOT).parts[0] in ("ttsd", "problems", "sandbox"):
            text = path.read_text("utf-8")
            long += [str(path)] if len(text.splitlines()) > 400 else []
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION)]
            long += [f"{path}:{node.name}" for node in nodes if (node.end_lineno or 0) - node.lineno >= 50]
    assert long == []
