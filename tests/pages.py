"""The pages for users, and the blocks of code that they show."""

from __future__ import annotations

import re
from pathlib import Path

from tests.commands import ROOT

PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    """Returns the blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def lines(page: Path) -> list[str]:
    """Returns the lines of a page's shell blocks, without comments."""
    found = "".join(blocks(page.read_text("utf-8"), "sh")).splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in found) if line]


def commands(page: Path) -> list[str]:
    """Returns the calls of `ttsd` in a page, also those behind `srun` and `docker run`, without redirections."""
    found = [re.search(r"\bttsd (?=[a-z-]).*", line) for line in lines(page)]
    return [re.split(r" (?:>|\|\||&&) ", one[0])[0] for one in found if one]


def write_files(text: str, folder: Path) -> list[Path]:
    """Writes each file that a page names above the block with its content, as in "`double/cases.toml`:"."""
    shown = re.findall(r"`([\w-]+/[\w.-]+)`[^`\n]*:\n\n```\w+\n(.*?)^```", text, re.M | re.S)
    for name, content in shown:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    return [folder / name for name, _ in shown]
