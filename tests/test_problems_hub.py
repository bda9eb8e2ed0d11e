"""Pulling over the network, from a little server that speaks the hub's language, and without a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from problems import ProblemError, collection, livecodebench, rows
from tests.commands import Ended, ttsd_each
from tests.rows import row

COMMIT = "c0ffee" + "0" * 34
LCB = "livecodebench/code_generation_lite"


@dataclass
class Hub:
    """One commit of dataset repositories: `files` by repository and path. It remembers what was asked of it."""

    files: dict[str, dict[str, bytes]]
    broken_off: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        for repository, files in self.files.items():
            if path in (f"/api/datasets/{repository}/revision/{name}" for name in ("main", COMMIT)):
                listed = [{"rfilename": name} for name in files]
                answer = {"_id": "1", "id": repository, "sha": COMMIT, "siblings": listed}
                return self._send(request, json.dumps(answer).encode(), body)
            for name, content in files.items():
                if path == f"/datasets/{repository}/resolve/{COMMIT}/{name}":
                    return self._send(request, content, body)
        request.send_response(404)
        request.send_header("X-Error-Code", "RepoNotFound" if path.startswith("/api") else "EntryNotFound")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, body: bool) -> None:
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.end_headers()
        if body and any(request.path.endswith(name) for name in self.broken_off):
            self.broken_off.clear()
            request.wfile.write(content[start : start + len(content) // 2])
            request.close_connection = True
        elif body:
            request.wfile.write(content[start:])


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub({LCB: {"README.md": b"", "code_generation_lite.py": b"raise SystemExit('a script was run')"}})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self, body=True)

        def do_HEAD(self) -> None:
            served.answer(self, body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def ttsd(cache: Path, url: str, *commands: list[str], **environment: str) -> list[Ended]:
    """As `ttsd_each`, with that hub and with caches of its own."""
    places = {"TTSD_CACHE": str(cache / "ttsd"), "HF_HOME": str(cache / "hf"), "HF_ENDPOINT": url}
    return ttsd_each(*commands, **{"HF_HUB_OFFLINE": "0", **places, **environment})


def lines(*ids: str) -> bytes:
    return "".join(json.dumps(row(question_id=question_id)) + "\n" for question_id in ids).encode()


def names(listed: str) -> list[str]:
    return [entry["question"] for entry in json.loads(listed)]


@pytest.mark.slow  # importing datasets takes seconds
def test_a_release_is_pulled_pinned_and_replaced(hub: Hub, tmp_path: Path) -> None:
    hub.files[LCB] |= {"test.jsonl": lines("a", "b"), "test2.jsonl": lines("c"), "test3.jsonl": lines("d")}
    hub.broken_off.append("test3.jsonl")
    list_ = ["list", "lcb", "--json"]
    pulled, first, newest, revision = ttsd(
        tmp_path,
        hub.url,
        ["pull", "livecodebench", "--release", "v2", "--json"],
        list_,
        ["pull", "lcb", "--release", "v2_v3", "--json"],
        ["pull", "lcb", "--revision", "nowhere"],
    )
    assert pulled.status == 0, pulled.stderr
    answer = json.loads(pulled.stdout)
    assert (answer["questions"], answer["release"], answer["revision"]) == (3, "v2", COMMIT)
    assert names(first.stdout) == ["lcb:a", "lcb:b", "lcb:c"]
    assert json.loads(newest.stdout)["questions"] == 2, "a download that was broken off must go on"
    assert not any(path.endswith(".py") for path in hub.asked)
    assert sum(path.endswith("test3.jsonl") for path in hub.asked) > 1
    assert (revision.status, revision.stdout) == (2, "")
    assert "--from FILE_OR_FOLDER" in revision.stderr
    [listed] = ttsd(tmp_path, "http://127.0.0.1:9", list_, HF_HUB_OFFLINE="1")
    assert names(listed.stdout) == ["lcb:c", "lcb:d"]


@pytest.mark.slow
def test_without_a_network_the_way_round_is_said(tmp_path: Path) -> None:
    [ended, missing] = ttsd(tmp_path, "http://127.0.0.1:9", ["pull", "livecodebench"], ["list", "lcb"])
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith("ttsd: can't download livecodebench/code_generation_lite at main (Connect")
    assert ended.stderr.endswith("`ttsd problems pull livecodebench --from FILE_OR_FOLDER`\n")
    assert "pull livecodebench" in missing.stderr


@pytest.mark.slow
def test_parquet_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setenv("TTSD_CACHE", str(tmp_path / "cache"))
    whole = row() | {"contest_date": datetime(2025, 2, 1)}
    parquet.write_table(pyarrow.Table.from_pylist([whole, whole | {"question_id": "2"}]), tmp_path / "r.parquet")
    pulled = collection.pull_files(livecodebench.SOURCE, tmp_path / "r.parquet")
    assert [(entry.question_id, entry.date[:10]) for entry in pulled.usable()] == [
        ("abc1_a", "2025-02-01"),
        ("2", "2025-02-01"),
    ]
    monkeypatch.setattr(rows, "MAX_GROUP_BYTES", 10)
    with pytest.raises(ProblemError, match=r"row group of more than"):
        collection.pull_files(livecodebench.SOURCE, tmp_path / "r.parquet")
    (tmp_path / "r.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(ProblemError, match=r"can't be read"):
        collection.pull_files(livecodebench.SOURCE, tmp_path / "r.parquet")
