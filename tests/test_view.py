"""`ttsd view`: what it answers and refuses, and a real browser that follows a run, steps through it and reads."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request

from tests.browser import Tab, chromium, tab
from tests.commands import refused, ttsd
from tests.records import begin, run_of
from tests.served import QUESTION, READ, WRONG, Served, learn_from
from tests.synthetic import World, populate
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Completion, Prompt, Status, Verdict
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_rows
from ttsd.reporting.view.app import Pages, changes
from ttsd.reporting.view.records import Records, Worker, opened

ROOT = Path(__file__).parents[1]
needs_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("view")
    path = folder / "a.sqlite"
    with Store(path) as store:
        populate(store, {QUESTION: {"sdpo": 0.0, "best-of-k": 0.0}}, World(seeds=1, budget=32))
        learn_from(store)
    command = [sys.executable, "-m", "ttsd", "view", str(path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Served(process.stdout.readline().strip(), path)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def add_attempt(path: Path, run: int, text: str) -> int:
    """Adds one more attempt to a run, as the process that works on it would; returns its number."""
    with Store(path) as store:
        number = store.answer(run).attempts + 1
        completion = Completion((1, 2), text, (-0.5, -0.5), "stop", 0)
        store.add_attempt(
            run, Attempt(number, 99, 99, READ, completion, text, replace(WRONG, feedback=f"{text} is wrong"))
        )
        return number


def populate_more(path: Path) -> None:
    with Store(path) as store:
        populate(store, {QUESTION: {"sdpo": 0.2, "best-of-k": 0.2}}, World(seeds=2, budget=32), seed=1)


def test_the_tree_of_a_search_is_seen_by_the_parent_of_each_attempt(served: Served) -> None:
    with Store(served.path) as store:
        run = store.new_run(run_of(QUESTION, "search", seed=4), {})
        for number, shows in ((1, ()), (2, (1,)), (3, (2,)), (4, (1,))):
            prompt = Prompt((number,), "what was read", "search" if shows else "question", shows)
            store.add_attempt(
                run,
                Attempt(number, 1, number, prompt, Completion((1,), "x", (-0.5,), "stop"), "xxxy"[number - 1], WRONG),
            )
        assert [row["parent"] for row in attempt_rows(store, run)] == [None, 1, 2, 1]
        assert all("parent" not in row for row in attempt_rows(store, 1))
    changed = served.get(f"1/run/{run}/attempt/4")[1]
    assert "shows attempt 1" in changed
    assert "What changed since attempt 1" in changed  # not since the one before, which it was not shown
    page = served.get(f"1/run/{run}")[1]
    assert '<th scope="col">parent</th>' in page
    assert page.count(f'/run/{run}/attempt/2">2</a>') == 2
    assert "<td>wrong answer</td>" in page  # as `ttsd show` spells it
    assert f'/run/{run}/attempt/2">↑ parent, attempt 2</a>' in served.get(f"1/run/{run}/attempt/3")[1]
    assert "parent" not in served.get(f"1/run/{run}/attempt/1")[1]


def test_runs_steps_and_attempts_have_addresses(served: Served) -> None:
    status, runs, headers = served.get("")
    assert status == 200
    assert QUESTION in runs
    assert "default-src 'none'" in headers["content-security-policy"]
    assert '/1/run/1"' in runs
    assert re.search(r'/1/run/3/attempt/\d+">what the teacher saw</a>', runs)
    assert "/1/run/1/attempt/" not in runs  # nothing was taught there
    assert "Step 2" in served.get("1/run/1/step/2")[1]
    attempt = served.get("1/run/1/attempt/3")[1]
    assert "Feedback" in attempt
    assert "What changed" not in attempt  # its prompt shows no other
    assert "&lt;b&gt;" in attempt  # feedback is text, not markup


@pytest.mark.parametrize(
    "path",
    [
        *("1/run/99", "1/run/1/step/99", "1/run/1/attempt/999", "2/run/1", "nothing", "1/run/x"),
        *(f"1/run/{10**23}", f"1/run/1/step/{10**23}", f"1/run/1/attempt/{10**23}", f"1/run/{'9' * 5000}"),
    ],
)
def test_what_is_not_there_is_a_page_with_one_sentence(served: Served, path: str) -> None:
    status, text, _ = served.get(path)
    assert status == 404
    assert "All runs" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_tokens_have_what_the_teacher_made_of_them_or_a_reason_why_not(served: Served) -> None:
    assert "Colouring" in served.get("1/run/3/attempt/1")[1]
    coloured = served.get("1/run/3/attempt/1/tokens")[1]
    shown = re.findall('<span([^>]*)title="teacher - student ([^,]*), sampled at ([^"]*)">([^<]*)</span>', coloured)
    assert [float(gain) for _, gain, *_ in shown] == [0.5 * at - 2.5 for at in range(len(shown))]
    assert [
        re.search(r'class="(\w+)" style="--share:(\d+)%"', style).groups() if style.strip() else None
        for style, *_ in shown[:7]
    ] == [("down", "100"), ("down", "100"), ("down", "75"), ("down", "50"), ("down", "25"), None, ("up", "25")]
    assert "no gradient step has learned from this attempt" in served.get("1/run/3/attempt/2")[1]
    assert "best-of-k has no teacher" in served.get("1/run/2/attempt/2")[1]


@pytest.mark.slow
def test_curves_are_counted_again_only_when_the_database_has_more(served: Served) -> None:
    status, text, headers = served.get("1/curves.json")
    pooled = json.loads(text)["pooled"]["attempts"]
    assert status == 200
    assert {"sdpo (model)", "best-of-k (model)"} <= {row["method"] for row in pooled}
    assert served.get("1/curves.json", **{"If-None-Match": headers["etag"]})[0] == 304
    add_attempt(served.path, 2, "print(0)")
    assert served.get("1/curves.json", **{"If-None-Match": headers["etag"]})[0] == 200
    learning = json.loads(served.get("1/run/1/curves.json")[1])
    assert [len(column) for column in learning["learning"]["1"].values()] == [4] * 9  # attempts, and eight quantities
    assert served.get("1/run/99/curves.json")[0] == 200
    assert served.get("2/curves")[0] == 404


def test_without_the_secret_nothing_is_said(served: Served) -> None:
    secret = urlsplit(served.address).path.strip("/")
    for path in ("/", "/wrong/", f"/{secret[:-1]}/", "/view.css", "/../../etc/passwd", f"/{secret}x/1/run/1"):
        status, text, _ = served.get(path)
        assert (status, text) == (404, "not found\n")
    assert served.get(f"/{secret}/../../../../etc/passwd")[0] == 404
    assert served.get(f"/{secret}/%2e%2e/%2e%2e/etc/passwd")[0] == 404


def test_only_this_machine_asks_and_nobody_writes(served: Served) -> None:
    assert urlsplit(served.address).hostname == "127.0.0.1"
    assert served.get("", Host="evil.example")[0] == 400
    for method in ("POST", "PUT", "DELETE"):
        assert served.get("1/run/1", method=method)[0] == 405
    with Store.read_only(served.path) as store, pytest.raises(UserError, match="readonly"):
        store.query("delete from attempts")


def test_a_page_is_sent_again_only_when_it_has_changed(served: Served) -> None:
    tag = served.get("1/run/2")[2]["etag"]
    assert served.get("1/run/2", **{"If-None-Match": tag})[0] == 304
    add_attempt(served.path, 2, "print(0)")
    assert served.get("1/run/2", **{"If-None-Match": tag})[0] == 200


@pytest.mark.slow
def test_mistakes_are_one_sentence(served: Served, tmp_path: Path) -> None:
    assert "there is no database" in refused(ttsd("view", "none.sqlite", cwd=tmp_path))
    port = str(urlsplit(served.address).port)
    assert f"--port {port} is taken" in refused(ttsd("view", str(served.path), "--port", port, cwd=tmp_path))


def test_changes_are_those_of_the_programs() -> None:
    completion, verdict = Completion((), "", (), "stop"), Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0)
    before, after = (Attempt(n, 1, 1, READ, completion, text, verdict) for n, text in ((1, "a\nb"), (2, "a\nc")))
    assert changes(before, after) == [("kept", "a"), ("removed", "b"), ("added", "c")]
    assert changes(None, after) == []
    long = replace(after, program="".join(f"x{at} = {at} + {at}\n" for at in range(9000)))
    assert 2000 < len(changes(before, long)) < 2010


def test_an_address_without_end_ends_its_connection(served: Served) -> None:
    place = urlsplit(served.address)
    for head in (b"GET /", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
        with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
            connection.sendall(head)
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                connection.sendall(b"a" * (64 << 20))
    assert served.get("")[0] == 200


def test_a_worker_that_was_killed_has_a_successor() -> None:
    worker = Worker()
    try:
        first = worker.call(os.getpid)
        os.kill(first, signal.SIGKILL)
        assert worker.call(os.getpid) not in (first, os.getpid())
        with pytest.raises(UserError, match="was killed"):
            worker.call(os.abort)
        assert worker.call(os.getpid) != first
    finally:
        worker.close()


def contrast(page: Tab, selector: str) -> float:
    """WCAG's ratio between an element's letters and what they stand on: drawn, so that mixed colours count."""
    return page.run(f"""(() => {{
      const canvas = document.createElement("canvas").getContext("2d", {{willReadFrequently: true}});
      const luminance = (...layers) => {{
        for (const layer of layers) {{ canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }}
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      }};
      const element = document.querySelector({json.dumps(selector)}), style = getComputedStyle(element);
      const ground = luminance(getComputedStyle(element.parentNode).backgroundColor, style.backgroundColor);
      const ink = luminance(style.color);
      return (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    }})()""")


def test_a_database_that_is_gone_hides_no_other_one(tmp_path: Path) -> None:
    paths = [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    for path in paths:
        with Store(path) as store:
            begin(store, path.stem)
    with Records(opened([(path, None) for path in paths])) as records:
        paths[0].unlink()
        page = bytes(Pages(records, "/s/").runs(Request({"type": "http", "headers": []})).body).decode()
    assert f"there is no database {paths[0]}" in page
    assert "/s/2/run/1" in page


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_coloured_tokens_are_readable_and_tell_their_numbers(served: Served, tmp_path: Path, dark: bool) -> None:
    with tab(tmp_path / "profile") as page:
        page.open(served.address + "1/run/3/attempt/1", width=1000, dark=dark)
        page.wait("document.querySelector('.tokens .up') !== null")
        for side in ("up", "down"):
            assert contrast(page, f'.tokens .{side}[style*="100%"]') >= 4.5
        page.run("document.querySelector('.tokens').focus()")
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
            page.run(
                f"document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
            )
        assert "teacher - student -2.000, sampled at -0.100" in page.run(
            "document.getElementById('numbers').textContent"
        )
        page.run(
            "document.querySelector('.tokens span').dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))"
        )
        assert "teacher - student -2.500" in page.run("document.getElementById('numbers').textContent")
        assert page.run("document.querySelectorAll('.tokens .chosen').length") == 1
        assert page.complaints == []


def press(page: Tab, key: str) -> None:
    page.run(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")


@pytest.mark.slow
@needs_browser
@pytest.mark.slow
def test_a_browser_follows_steps_through_and_reads(served: Served, tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as page:
        page.open(served.address, width=1200)
        page.wait("document.querySelectorAll('tbody tr').length >= 3")
        page.run("document.querySelector('a[href$=\"/run/1\"]').click()")
        page.wait("location.pathname.endsWith('/1/run/1') && document.querySelectorAll('.steps a').length > 1")
        page.wait("document.querySelectorAll('.chart svg').length >= 3")
        press(page, "ArrowLeft")
        page.wait("location.pathname.includes('/step/')")
        page.wait("document.querySelector('.steps .chosen') !== null")
        page.run("document.querySelector('tbody a').click()")
        page.wait("location.pathname.includes('/attempt/')")
        page.wait("document.readyState === 'complete' && document.body.textContent.includes('what was read')")
        press(page, "Escape")
        page.wait("location.pathname.includes('/step/')")
        assert page.complaints == []


@pytest.mark.slow
@needs_browser
def test_a_browser_draws_the_reports_curves_and_they_grow(served: Served, tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as page:
        page.open(served.address + "1/curves", width=1200)
        page.wait("document.querySelectorAll('.chart svg').length >= 4")
        assert QUESTION in page.run("document.querySelector('.grid').textContent")
        assert "best-of-k (model)" in page.run("document.querySelector('.legend').textContent")
        page.run("window.first = document.querySelector('.wide .chart svg')")
        drawn = "document.querySelector('.wide .chart svg').outerHTML"
        page.run(f"window.before = {drawn}")
        populate_more(served.path)
        page.wait(f"{drawn} !== window.before")
        assert page.run("document.querySelector('.wide .chart svg') === window.first")  # renewed in its place
        assert page.complaints == []


@pytest.mark.slow
@needs_browser
def test_a_browser_sees_a_run_go_on_without_being_reloaded(served: Served, tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as page:
        page.open(served.address + "1/run/2", width=1200)
        page.run("window.kept = true")
        number = add_attempt(served.path, 2, "print('new')")
        page.wait(f"document.body.textContent.includes(\"print('new') is wrong\") && {number} > 0")
        assert page.run("window.kept") is True
        page.open(served.address, width=1200)
        page.run("document.getElementById('filter').value = 'best-of'")
        page.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        names = page.run("[...document.querySelectorAll('tbody tr:not([hidden])')].map((row) => row.dataset.name)")
        assert 0 < len(names) < page.run("document.querySelectorAll('tbody tr').length")
        assert all("best-of-k" in name for name in names)
        assert page.complaints == []


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_every_page_without_scrolling_sideways(served: Served, tmp_path: Path, dark: bool) -> None:
    with tab(tmp_path / "profile") as page:
        for path in ("", "1/curves", "1/run/1", "1/run/1/attempt/2", "1/run/3/attempt/1", "1/run/99"):
            page.open(served.address + path, width=360, dark=dark)
            page.wait("document.querySelector('h1') !== null")
            assert page.run("document.documentElement.scrollWidth") <= 360, path
            if folder := os.environ.get("TTSD_PICTURES"):
                page.wait("document.querySelector('[data-from] > .hint:only-child') === null")
                page.wait("document.querySelector('.chart') === null || document.querySelector('.chart svg') !== null")
                page.picture(Path(folder) / f"phone-{path.replace('/', '-')}-{dark}.png", whole=True)
                page.open(served.address + path, width=1200, dark=dark)
                page.picture(Path(folder) / f"wide-{path.replace('/', '-')}-{dark}.png", whole=True)
