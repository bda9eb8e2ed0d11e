"""Addresses and answers of `ttsd view`: runs, one run, one step, one attempt; each page is a deep link."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from problems.problem import ProblemError
from ttsd.errors import UserError
from ttsd.methods import method_named
from ttsd.nouns import Attempt
from ttsd.record.store import Row
from ttsd.reporting.report.attempt_page import coloured
from ttsd.reporting.report.figures import PANELS
from ttsd.reporting.report.page import code_style, environment, highlighted, template_text
from ttsd.reporting.report.record import COSTS
from ttsd.reporting.show import attempt_line, changed_lines, prompt_title, run_line, run_text
from ttsd.reporting.view.records import Records

PACKAGE = "ttsd.reporting.view"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Number(IntegerConvertor):
    """Matches a number in an address, of no more digits than the database can hold."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", Number())


def build_app(records: Records, secret: str) -> Starlette:
    """Builds the application. Everything is under the secret; any other address is not found."""
    pages = Pages(records, f"/{secret}/")
    routes = [
        Route("/", pages.runs),
        Route("/view.css", pages.style),
        Route("/view.js", pages.script),
        Route("/charts.js", pages.chart_script),
        Route("/{record}/curves", pages.curves),
        Route("/{record}/curves.json", pages.discovery),
        Route("/{record}/run/{run:number}/curves.json", pages.learning),
        Route("/{record}/run/{run:number}", pages.run),
        Route("/{record}/run/{run:number}/step/{step:number}", pages.run),
        Route("/{record}/run/{run:number}/attempt/{attempt:number}", pages.attempt),
        Route("/{record}/run/{run:number}/attempt/{attempt:number}/tokens", pages.tokens),
    ]
    return Starlette(
        routes=[Mount(f"/{secret}", routes=routes)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={UserError: pages.missing, ProblemError: pages.missing, 404: pages.missing},
    )


class Pages:
    """Answers each address. Plain functions: starlette runs them in threads."""

    def __init__(self, records: Records, root: str) -> None:
        self._records = records
        self._root = root
        self._templates = environment(PACKAGE)

    def runs(self, request: Request) -> Response:
        return self._page(request, "runs.html.jinja", title="Runs", databases=self._records.runs())

    def run(self, request: Request) -> Response:
        """Shows a run with the step that the address names, or its newest."""
        record, run = request.path_params["record"], request.path_params["run"]
        row = self._records.run(record, run)
        shown = self._shown(record, row, request.path_params.get("step"))
        at = f"{self._root}{record}/run/{run}"
        return self._page(request, "run.html.jinja", title=run_line(row), row=row, at=at, **shown)

    def attempt(self, request: Request) -> Response:
        record, run, number = asked(request)
        view, near, scored = self._records.attempt(record, run, number)
        attempt, row = view.attempt, view.run
        return self._page(
            request,
            "attempt_view.html.jinja",
            title=f"Attempt {number} of run {run}",
            at=f"{self._root}{record}/run/{run}",
            row=row,
            attempt=attempt,
            teacher=view.example.teacher if view.example else None,
            prompt_title=prompt_title,
            near=near,
            heading=run_line(row),
            line=attempt_line(attempt),
            program=highlighted(attempt.program) if attempt.program else "",
            changes=changes(near.get(attempt.prompt.shows[-1]), attempt) if attempt.prompt.shows else [],
            scored=scored,
            taught=method_named(row["method"]).column.teaches,
        )

    def tokens(self, request: Request) -> Response:
        tokens = coloured(self._records.tokens(*asked(request)))
        return self._page(request, "tokens.html.jinja", **tokens)

    def curves(self, request: Request) -> Response:
        record = request.path_params["record"]
        questions, path = self._records.questions(record), self._records.source(record).path
        return self._page(
            request,
            "curves.html.jinja",
            title="Discovery curves",
            at=f"{self._root}{record}",
            path=path,
            questions=questions,
            costs=COSTS,
        )

    def discovery(self, request: Request) -> Response:
        """Returns the report's discovery curves; counts again only where the database has more than the browser has."""
        record = request.path_params["record"]
        state = self._records.state(record).encode()
        return self._sent(request, state, lambda: JSONResponse(self._records.discovery(record)))

    def learning(self, request: Request) -> Response:
        record, run = request.path_params["record"], request.path_params["run"]
        found = JSONResponse(self._records.learning(record, run))
        return self._sent(request, bytes(found.body), lambda: found)

    def style(self, request: Request) -> Response:
        text = "\n".join([template_text("style.css"), code_style(), template_text("view.css", PACKAGE)])
        return Response(text, media_type="text/css", headers=HEADERS)

    def script(self, request: Request) -> Response:
        text = template_text("charts.js") + template_text("view.js", PACKAGE)
        return Response(text, media_type="text/javascript", headers=HEADERS)

    def chart_script(self, request: Request) -> Response:
        """Returns the charts' library. A browser may keep it: each start of `view` has another address."""
        headers = HEADERS | {"Cache-Control": "private, max-age=86400"}
        return Response(self._records.chart_script, media_type="text/javascript", headers=headers)

    async def missing(self, request: Request, error: Exception) -> Response:
        """Answers with one sentence; nothing of it where the secret was wrong."""
        if not request.url.path.startswith(self._root):
            return PlainTextResponse("not found\n", 404, headers=HEADERS)
        said = str(error) if isinstance(error, UserError | ProblemError) else "there is no such page"
        return self._page(request, "missing.html.jinja", status=404, title="Not found", said=said)

    def _shown(self, record: str, row: Row, step: int | None) -> dict[str, Any]:
        """Returns the step whose attempts are shown: the one asked for, else the newest."""
        steps = [one["step"] for one in row["steps"]]
        chosen = step if step is not None else steps[-1] if steps else None
        attempts = [] if chosen is None else self._records.step(record, row["run"], chosen)
        place = steps.index(chosen) if chosen in steps else 0
        return {
            "head": run_text(row).splitlines()[1:],
            "step": chosen,
            "attempts": attempts,
            "previous": steps[place - 1] if place > 0 else None,
            "next": steps[place + 1] if place + 1 < len(steps) else None,
            "panels": list(PANELS),
        }

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(template).render(root=self._root, **values).encode()
        return self._sent(request, html, lambda: HTMLResponse(html, status))

    def _sent(self, request: Request, state: bytes, answer: Callable[[], Response]) -> Response:
        """Sends the answer, or 304 where the browser has it already: `state` changes whenever the answer does."""
        tag = f'"{hashlib.sha256(state).hexdigest()[:32]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=HEADERS)
        found = answer()
        found.headers.update(HEADERS | {"ETag": tag})
        return found


def asked(request: Request) -> tuple[str, int, int]:
    """Returns database, run and attempt of an address."""
    record, run, attempt = (request.path_params[name] for name in ("record", "run", "attempt"))
    return record, run, attempt


def changes(before: Attempt | None, after: Attempt) -> list[tuple[str, str]]:
    """Returns the program's lines, each with what happened since the attempt before: added, removed or kept."""
    if before is None or before.program is None or after.program is None:
        return []
    kinds = {"+": "added", "-": "removed", " ": "kept"}
    lines = changed_lines(before.program, after.program)[3:]
    return [(kinds[line[0]], line[1:]) for line in lines]
