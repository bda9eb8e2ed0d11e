"""`ttsd view` as a process that tests ask, and a run that it shows."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.records import run_of
from ttsd.nouns import Attempt, Completion, Example, Prompt, Status, Step, Verdict
from ttsd.record.store import Store

QUESTION = "micro:numbers:2:1"
WRONG = Verdict(Status.WRONG_ANSWER, 1, 3, 0, 1, first_failure=1, feedback="no")


READ, TEACHER = Prompt(tuple(range(10)), "the question"), Prompt(tuple(range(12)), "the solution", "teacher", (2,))


@dataclass(frozen=True)
class Served:
    address: str
    path: Path

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        """Of an address under the secret, or of `/...` beside it."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        try:
            connection.request(method, path if path.startswith("/") else parts.path + path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()


def learn_from(store: Store) -> None:
    """Adds a third run, of the bundled model: one step, whose teacher finds each token likelier than the one before."""
    ids = range(20, 31)
    completion = Completion(tuple(ids), "text", tuple(-0.1 * at for at in range(len(ids))), "stop", 0)
    run = store.new_run(run_of(QUESTION, seed=9), {})
    attempts = tuple(Attempt(number, 1, 1, READ, completion, "print(<1>)", WRONG, 0.1) for number in (1, 2))
    for one in attempts:
        store.add_attempt(run, one)
    example = Example(1, READ.token_ids, completion.token_ids, completion.logprobs, teacher=TEACHER)
    store.add_step(run, Step(1, attempts, 1, (example,)), None, {1: [0.5 * at - 2.5 for at in range(len(ids))]})
