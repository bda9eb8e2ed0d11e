"""A small server with the hub's interface for uploads. Real HTTP on 127.0.0.1."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.endpoint_server import listening

COMMIT = "c0ffee" + "0" * 34


class Uploads:
    """Repositories with their files. `key`: the only one that it knows. It answers 403 for those of `forbidden`."""

    def __init__(self, key: str, forbidden: str) -> None:
        self.key, self.forbidden = key, forbidden
        self.url = ""
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}

    async def create(self, request: Request) -> Response:
        body = await request.json()
        name = f"{body['organization']}/{body['name']}"
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Invalid username or password."}, 401)
        if body["organization"] == self.forbidden:
            return JSONResponse({"error": f"no right to create under {self.forbidden}"}, 403)
        if name in self.files:
            return JSONResponse({"error": "You already created this repo", "url": f"{self.url}/{name}"}, 409)
        self.private[name], self.files[name] = body["visibility"] == "private", {}
        return JSONResponse({"url": f"{self.url}/{name}"})

    async def check_card(self, request: Request) -> Response:
        assert (await request.json())["content"].startswith("---\n")
        return JSONResponse({"errors": [], "warnings": []})

    async def ways(self, request: Request) -> Response:
        asked = [file["path"] for file in (await request.json())["files"]]
        way = {True: "lfs", False: "regular"}
        files = [{"path": path, "uploadMode": way[path.endswith(".safetensors")]} for path in asked]
        return JSONResponse({"files": [{**file, "shouldIgnore": False} for file in files]})

    async def places(self, request: Request) -> Response:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/large/{one['oid']}"}}}
            for one in (await request.json())["objects"]
        ]
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def put(self, request: Request) -> Response:
        self.large[request.path_params["oid"]] = await request.body()
        return Response()

    async def commit(self, request: Request) -> Response:
        name = "{org}/{name}".format(**request.path_params)
        repository = self.files[name]
        for line in (await request.body()).splitlines():
            entry: dict[str, Any] = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repository[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository[value["path"]] = self.large[value["oid"]]
        return JSONResponse({"commitUrl": f"{self.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    async def missing(self, _: Request) -> Response:
        return JSONResponse({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    @contextmanager
    def running(self) -> Iterator[Uploads]:
        """Listens on a free port while inside."""
        model = "/api/models/{org}/{name}"
        routes = {
            "/api/repos/create": ("POST", self.create),
            "/api/validate-yaml": ("POST", self.check_card),
            f"{model}/preupload/main": ("POST", self.ways),
            "/{org}/{name}.git/info/lfs/objects/batch": ("POST", self.places),
            "/large/{oid}": ("PUT", self.put),
            f"{model}/commit/main": ("POST", self.commit),
            model: ("GET", self.missing),
        }
        with listening(Route(path, do, methods=[way]) for path, (way, do) in routes.items()) as self.url:
            yield self
