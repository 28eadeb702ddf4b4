"""The API as the page sees it, over a made-up unit, in a thread that ends and starts at will."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from datetime import date
from importlib import resources
from mimetypes import guess_type

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from edge_runtime.console.documents import (
    ConsoleStatus,
    ReadAdded,
    StudyList,
    StudyRead,
    TokenSignIn,
    Withdrawal,
    Withdrawn,
)
from edge_runtime.phrases import Language, words
from tests.e2e.made_up import MadeUpUnit, png_of
from tests.e2e.receivers import until
from tests.e2e.serving import free_port

TOKEN = "made-up-token"
# What the contract lets the page do: no inline code or style, nothing from elsewhere.
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"


class PageServer:
    """Serves the page and a unit; `open` to all, or only to who shows the token."""

    def __init__(self, unit: MadeUpUnit, *, open_to_all: bool = True) -> None:
        self.unit = unit
        self.port = free_port()
        self.sent: list[dict[str, str]] = []
        self.told: list[tuple[str, str, object]] = []
        self.delay_s = 0.0
        self._open = open_to_all
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        # It leaves logging alone: other tests of the same process look at what is logged.
        config = uvicorn.Config(
            self._app(), "127.0.0.1", self.port, log_config=None, access_log=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server is not None and self._server.started, "the page is served")

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._server = None

    def tell(self, uid: str) -> None:
        """Send an event: something of a study changed."""
        study = self.unit.find(uid)
        assert study is not None
        event = {"study_instance_uid": uid, "state": study.state, "decision": study.decision}
        self.sent.append(event)  # type: ignore[arg-type]

    def _app(self) -> FastAPI:
        app, unit = FastAPI(openapi_url=None), self.unit

        @app.middleware("http")
        async def guard(request: Request, call_next):  # type: ignore[no-untyped-def]
            path = request.url.path
            public = (
                path == "/" or path.startswith("/page/") or path in ("/v1/words", "/v1/session")
            )
            if not (self._open or public or request.cookies.get("session") == TOKEN):
                return _refused(401, "nobody is signed in", "Sign in")
            await asyncio.sleep(self.delay_s)
            answer = await call_next(request)
            answer.headers["Content-Security-Policy"] = POLICY
            answer.headers["Cache-Control"] = "no-store"
            return answer

        @app.get("/")
        def index() -> Response:
            return _file("index.html")

        @app.get("/page/{name}")
        def page(name: str) -> Response:
            return _file(name)

        @app.get("/v1/words")
        def labels(lang: Language = "en") -> dict[str, str]:
            return words(lang)

        @app.post("/v1/session")
        def sign_in(shown: TokenSignIn, response: Response) -> Response:
            if shown.token != TOKEN:
                return _refused(401, "this is not the token", "Ask for it")
            answer = JSONResponse({"name": "token", "until": "2026-11-23T02:00:00Z"})
            answer.set_cookie("session", TOKEN, httponly=True, samesite="strict")
            return answer

        @app.get("/v1/status")
        def status() -> ConsoleStatus:
            return unit.status()

        @app.get("/v1/studies")
        def studies(day: date | None = None, lang: Language = "en") -> StudyList:
            return unit.list(day, lang)

        @app.get("/v1/studies/{uid}")
        def study(uid: str, lang: Language = "en") -> Response:
            found = unit.find(uid)
            if unit.mode == "shadow":
                return _refused(403, "the unit is in shadow mode", "Wait")
            if found is None:
                return _refused(404, "no study with this UID is here", "Check the UID")
            return _json(found.study(lang).model_dump_json(by_alias=True))

        @app.get("/v1/films/{uid}/image.png")
        def picture(uid: str, width: int) -> Response:
            found = unit.find(uid)
            assert found is not None
            view = int(uid.rpartition(".")[2]) - 1
            return Response(png_of(found.number, view, width), media_type="image/png")

        @app.post("/v1/films/{uid}/withdraw")
        def withdraw(uid: str, asked: Withdrawal) -> Withdrawn:
            found = unit.find(uid)
            assert found is not None
            self.told.append(("withdraw", uid, asked.model_dump()))
            unit.change(found.uid, withdrawn=True)
            return Withdrawn(films=1)

        @app.post("/v1/studies/{uid}/reads")
        def read(uid: str, said: StudyRead) -> ReadAdded:
            self.told.append(("read", uid, said.model_dump()))
            unit.change(uid, read=said.verdict)
            return ReadAdded(id=1)

        @app.get("/v1/events")
        async def events() -> Response:
            if unit.mode == "shadow":
                return _refused(403, "the unit is in shadow mode", "Wait")
            return StreamingResponse(self._stream(), media_type="text/event-stream")

        return app

    async def _stream(self) -> AsyncIterator[str]:
        server, number = self._server, len(self.sent)
        yield ": here\n\n"
        while server is not None and not server.should_exit:
            for event in self.sent[number:]:
                number += 1
                yield f"id: {number}\nevent: study\ndata: {json.dumps(event)}\n\n"
            await asyncio.sleep(0.02)


def _file(name: str) -> Response:
    file = resources.files("edge_runtime.console").joinpath("page", name)
    return Response(file.read_bytes(), media_type=guess_type(name)[0])


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _refused(status: int, error: str, remedy: str) -> JSONResponse:
    return JSONResponse({"error": error, "remedy": remedy}, status)
