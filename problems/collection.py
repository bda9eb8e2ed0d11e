"""Keeps questions pulled to this machine: a small file each and an index, so that a name is found without a network.

    $TTSD_CACHE, else $XDG_CACHE_HOME/ttsd, else ~/.cache/ttsd
        lcb/index.json          the release and its repository, and its rows in order
        lcb/rows/HASH.json      one row, as published, named by its content

Only rows that were read in full get a file. A pull writes files first and replaces the index last, in one step: killed
at any moment it leaves the old index and the old files, and started again it resumes with what it has.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from problems import apps, code_contests, codeforces, humaneval, livecodebench, mbpp
from problems.problem import Problem, ProblemError, checked, hint, reason
from problems.rows import Row, lines, parsed
from problems.source import Source
from problems.split import split

_PROGRAMS = (codeforces.SOURCE, apps.SOURCE, apps.TACO, code_contests.SOURCE)
SOURCES = {source.scheme: source for source in (livecodebench.SOURCE, humaneval.SOURCE, mbpp.SOURCE, *_PROGRAMS)}
FORMAT = 1
MAX_ROWS = 200_000
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class Entry:
    """Describes one row of a release. `row` counts from 0 over all rows, those that can't be used included.

    `file` names the question's file; where it is empty, `refused` says why. `date`, `difficulty` and `platform` are the
    row's own, and the others the question's: of a refused row they are empty. `comparison` is how outputs are compared,
    in words; empty for the default. `hidden_cases`: with the source's own split.
    """

    question_id: str
    row: int
    title: str = ""
    date: str = ""
    difficulty: str = ""
    platform: str = ""
    several_answers: bool = False
    comparison: str = ""
    file: str = ""
    refused: str = ""
    hidden_cases: int = 0


@dataclass(frozen=True, slots=True)
class Index:
    """Describes what was pulled. `revision` is the repository's commit, empty for files of the user's own."""

    scheme: str
    origin: str
    revision: str
    release: str
    pulled: str
    entries: tuple[Entry, ...]

    def usable(self) -> list[Entry]:
        """Returns the rows that became questions."""
        return [entry for entry in self.entries if entry.file]

    def refused(self) -> list[Entry]:
        """Returns the rows that can't be used, with the reason."""
        return [entry for entry in self.entries if not entry.file]


def source_named(name: str) -> Source:
    """Returns the source that a user calls `name`, by its name or its scheme; raises ProblemError."""
    for source in SOURCES.values():
        if name in (source.name, source.scheme):
            return source
    known = ", ".join(source.name for source in SOURCES.values())
    raise ProblemError(f"there is no source {name!r}: choose one of {known}")


def pull(source: Source, *, release: str | None = None, revision: str | None = None) -> Index:
    """Downloads a release of `source` and makes it the one that its names mean; raises ProblemError."""
    from problems.hub import download

    name, files = source.release(release)
    paths, commit = download(files.repository, revision or files.revision, files.files, source.name)
    return _stored(source, Index(source.scheme, files.repository, commit, name, _now(), ()), paths)


def pull_files(source: Source, path: Path) -> Index:
    """Does what `pull` does, from a local file or all files of a folder in the order of their names."""
    return _stored(source, Index(source.scheme, str(path.absolute()), "", "", _now(), ()), _files(path))


def pulled(scheme: str) -> Index | None:
    """Returns the index of what was pulled for `scheme`, None without; raises ProblemError where it is damaged."""
    try:
        found = json.loads((_folder(scheme) / "index.json").read_text("utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("its format is another version's")
        return Index(**found | {"entries": tuple(Entry(**entry) for entry in found["entries"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProblemError(
            f"{_folder(scheme) / 'index.json'} can't be read ({reason(error)}): {_remedy(scheme)}"
        ) from None


def pulled_names() -> list[str]:
    """Returns every question that was pulled and can be used, of all sources; a damaged index counts as none."""
    names: list[str] = []
    for scheme in SOURCES:
        with suppress(ProblemError):
            found = pulled(scheme)
            names += [f"{scheme}:{entry.question_id}" for entry in found.usable()] if found else []
    return names


def index(scheme: str, release: str = "") -> Index:
    """Does what `pulled` does; raises ProblemError where nothing was pulled, which names the `release` to pull."""
    found = pulled(scheme)
    if found is None:
        raise ProblemError(f"no {scheme}: question is on this machine: {_remedy(scheme, release)}")
    return found


def load(scheme: str, question_id: str) -> Problem:
    """Returns the pulled question `<scheme>:<question_id>`; raises ProblemError."""
    name = f"{scheme}:{question_id}"
    return SOURCES[scheme].problem(_pulled_row(scheme, question_id), name)


def reference(scheme: str, question_id: str) -> str | None:
    """Returns a right program for a pulled question, where its source has one; raises ProblemError."""
    return SOURCES[scheme].reference(_pulled_row(scheme, question_id))


def _pulled_row(scheme: str, question_id: str) -> Row:
    name = f"{scheme}:{question_id}"
    found = pulled(scheme)
    if found is None:
        local = f", or give a local file instead, FILE.jsonl#{question_id}" if scheme == "lcb" else ""
        raise ProblemError(f"{name} is not on this machine: {_remedy(scheme)}{local}")
    entry = next((entry for entry in found.entries if entry.question_id == question_id), None)
    if entry is None:
        raise ProblemError(_unknown(found, question_id))
    if not entry.file:
        raise ProblemError(f"{name} was pulled but can't be used: {entry.refused}")
    return _row(_folder(scheme) / "rows" / entry.file, name)


def _row(path: Path, name: str) -> Row:
    try:
        return parsed(path.read_bytes(), name)
    except OSError as error:
        raise ProblemError(f"{name}: its file {path} can't be read ({reason(error)}): pull it again") from None


def _unknown(found: Index, question_id: str) -> str:
    known = [entry.question_id for entry in found.usable()]
    guess = hint(question_id, known, f"list them with `ttsd problems list {found.scheme}`", 3, f"{found.scheme}:")
    return f"there is no {found.scheme}:{question_id} among the {len(known)} questions that were pulled; {guess}"


def _remedy(scheme: str, release: str = "") -> str:
    option = f" --release {release}" if release else ""
    return f"run `ttsd problems pull {SOURCES[scheme].name}{option}` once (offline: with --from FILE.jsonl)"


def _stored(source: Source, draft: Index, paths: Sequence[Path]) -> Index:
    """Stores the rows of `paths`; where none can be used, the old ones stay."""
    folder = _folder(source.scheme)
    try:
        with _alone(folder):
            done = replace(draft, entries=tuple(_entries(source, paths, folder / "rows")))
            if not done.usable():
                raise ProblemError(f"{draft.origin} has no question that can be used: {_first_refusal(done, source)}")
            _replace(folder / "index.json", json.dumps({"format": FORMAT, **asdict(done)}).encode())
            _prune(folder / "rows", {entry.file for entry in done.entries})
            return done
    except OSError as error:
        raise ProblemError(
            f"{folder} can't be written ({reason(error)}): make room, or set TTSD_CACHE to another folder"
        ) from None


def _first_refusal(found: Index, source: Source) -> str:
    return found.entries[0].refused if found.entries else f"give files in {source.schema}"


def _entries(source: Source, paths: Iterable[Path], rows: Path) -> Iterator[Entry]:
    rows.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    number = 0
    for path in paths:
        for line in lines(path, source.schema):
            if not line.strip():
                continue
            if number == MAX_ROWS:
                raise ProblemError(f"{path} is beyond {MAX_ROWS} rows: pull fewer files")
            entry = _entry(source, number, line, rows)
            if entry.question_id in seen:
                entry = replace(entry, file="", refused=f"{entry.question_id!r} is there twice; the first one is kept")
            seen.add(entry.question_id)
            yield entry
            number += 1


def _entry(source: Source, number: int, line: bytes, rows: Path) -> Entry:
    """Returns the entry of one row, stored if it can be used; a row without an id is called by its number."""
    entry = Entry(f"row {number}", number)
    try:
        row = parsed(line, f"row {number}")
        entry = replace(entry, question_id=source.question_id(row), **source.facts(row))
        _check_id(entry.question_id)
        problem = checked(source.problem(row, f"{source.scheme}:{entry.question_id}"))
        return replace(
            entry,
            file=_kept(source, line, rows),
            title=problem.title,
            several_answers=problem.several_answers,
            comparison=str(problem.comparison),
            hidden_cases=len(split(problem, problem.default_split, 0).hidden),
        )
    except ProblemError as error:
        return replace(entry, question_id=entry.question_id[:80], refused=str(error))


def _check_id(question_id: str) -> None:
    if not question_id.isprintable() or len(question_id) > 80:
        raise ProblemError(f"its id {question_id[:40]!r} is no name that could be typed")


def _kept(source: Source, line: bytes, rows: Path) -> str:
    """Returns the file of a row, written unless it is there."""
    file = hashlib.sha256(source.scheme.encode() + line).hexdigest()[:32] + ".json"
    path = rows / file
    if not path.exists() or path.stat().st_size != len(line):
        _replace(path, line)
    return file


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.name.endswith(SUFFIXES):
            raise ProblemError(f"{str(path)!r} is none of {', '.join(SUFFIXES)}, nor a folder of them: give one")
        return [path]
    found = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    if not found:
        raise ProblemError(f"the folder {str(path)!r} has no {', '.join(SUFFIXES)} file: give one that has")
    return found


def _folder(scheme: str) -> Path:
    base = os.environ.get("TTSD_CACHE")
    return (Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttsd") / scheme


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second pull of the same source out; raises ProblemError there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProblemError(f"another pull is writing to {folder}: wait until it has ended") from None
        yield


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".draft-", delete=False) as draft:
        try:
            draft.write(content)
            draft.close()
            os.replace(draft.name, path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise


def _prune(rows: Path, wanted: set[str]) -> None:
    for path in rows.iterdir():
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
