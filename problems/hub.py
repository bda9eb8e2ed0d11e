"""Fetches what is on the Hugging Face hub. The door to datasets.

Files are fetched into the hub's own cache, where a broken-off download resumes; dataset scripts are never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from problems.problem import ProblemError, reason


def download(repository: str, revision: str, patterns: Sequence[str], name: str) -> tuple[list[Path], str]:
    """Returns the files of a dataset repository that match `patterns`, in their order, and their commit.

    `revision` is a branch, a tag, a pull request's reference or a commit; `name` is what the user pulls. Raises
    ProblemError.
    """
    from datasets import DownloadManager
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(repository, revision=revision, timeout=30)
        files = _matching([file.rfilename for file in info.siblings or ()], patterns, repository, revision)
        commit = info.sha or revision
        paths = DownloadManager().download([f"hf://datasets/{repository}@{commit}/{file}" for file in files])
    except ProblemError:
        raise
    except Exception as error:  # the hub's client raises what half a dozen libraries below it raise
        raise ProblemError(
            f"can't download {repository} at {revision} ({type(error).__name__}: {reason(error)}): fetch its files "
            f"elsewhere and give them, `ttsd problems pull {name} --from FILE_OR_FOLDER`"
        ) from error
    return list(map(Path, paths)), commit


def parquet_rows(path: Path, max_group_bytes: int) -> Iterator[Mapping[str, object]]:
    """Yields the rows of a Parquet file, one row group at a time; ValueError or OSError where it is none."""
    from datasets import load_dataset
    from pyarrow.parquet import read_metadata  # type: ignore[import-untyped]

    metadata = read_metadata(path)
    groups = range(metadata.num_row_groups)
    if any(metadata.row_group(group).total_byte_size > max_group_bytes for group in groups):
        raise ValueError(f"it has a row group of more than {max_group_bytes >> 30} GiB")
    yield from load_dataset("parquet", data_files=str(path), split="train", streaming=True)


def _matching(files: Sequence[str], patterns: Sequence[str], repository: str, revision: str) -> list[str]:
    matching = [sorted(file for file in files if fnmatch(file, pattern)) for pattern in patterns]
    missing = [pattern for pattern, found in zip(patterns, matching, strict=True) if not found]
    if missing:
        raise ProblemError(f"{repository} has no file {missing[0]} at {revision}: choose another --revision")
    return [file for found in matching for file in found]
