"""The routes of the API, version 1. What they mean to clients is in docs/console.md."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import resources
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from edge_runtime.bundle import ModelBundle
from edge_runtime.console import studies
from edge_runtime.console.access import COOKIE, Access, Caller
from edge_runtime.console.accounts import SESSION_S
from edge_runtime.console.documents import (
    AccountSignIn,
    ConsoleStatus,
    FilmPath,
    FilmResult,
    Problem,
    ReadAdded,
    SignedIn,
    Study,
    StudyList,
    StudyRead,
    Submitted,
    TokenSignIn,
    Uid,
    Withdrawal,
    Withdrawn,
)
from edge_runtime.console.events import Events
from edge_runtime.console.guard import FILM_TYPE, JSON_TYPE, body_type
from edge_runtime.console.headers import FilmHeaders
from edge_runtime.console.picture import picture_of
from edge_runtime.console.problems import RefusedError, problem, problem_of
from edge_runtime.console.submit import Submitter
from edge_runtime.errors import OsteoedgeError
from edge_runtime.feedback.reads import add_read
from edge_runtime.phrases import words
from edge_runtime.policy import Language
from edge_runtime.rejection import Reason
from edge_runtime.spool import Spool
from edge_runtime.spool.withdrawal import withdraw
from edge_runtime.unit.config import UnitConfig

log = logging.getLogger(__name__)

# Films that are received at a time, each with its space on the disk; a client tries again.
_AT_ONCE = 4
_REMEDIES = {
    404: "Ask /v1/openapi.json what there is",
    405: "Ask /v1/openapi.json what there is",
    408: "Send it again, over a faster line",
    413: "Send single films",
}
_ABOUT = (
    "What the X-ray console's own software asks of the unit: films in, results out. On a Unix "
    "socket, where the kernel says who calls, or by TCP on loopback with a token. Every result is "
    "a bone-tumour check only, not a normal report."
)


@dataclass
class Desk:
    """What requests are answered from.

    Attributes
    ----------
    pictures
        One at a time: each takes the memory of a whole film.
    """

    unit: UnitConfig
    bundle: ModelBundle
    access: Access
    submitter: Submitter
    events: Events
    headers: FilmHeaders = field(default_factory=FilmHeaders)
    pictures: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    submissions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def spool(self) -> Spool:
        """Open the spool, for one thread."""
        return Spool(self.unit.spool.directory)

    def language(self, asked: Language | None) -> Language:
        """Return the language of an answer."""
        return asked or self.unit.language


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["state"]["caller"]
    return caller


At = Annotated[Desk, Depends(_desk)]
By = Annotated[Caller, Depends(_caller)]


def _iso_day(text: str) -> str:
    # Pydantic takes a number, too, for seconds since 1970.
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError("write a day as 2026-11-22")
    return text


Day = Annotated[date, BeforeValidator(_iso_day)]
Lang = Annotated[Language | None, Query(description="of the texts; else the unit's own")]


async def _typed(request: Request) -> None:
    # A form, which any site's page may send anywhere, is neither.
    if body_type(request.headers) not in (JSON_TYPE, FILM_TYPE):
        raise RefusedError(
            415,
            "the body is neither JSON nor DICOM",
            f"Send {JSON_TYPE} or {FILM_TYPE}, and say so in Content-Type",
        )


api = APIRouter(prefix="/v1")
writes = APIRouter(prefix="/v1", dependencies=[Depends(_typed)])


@api.get("/status")
def status(desk: At, lang: Lang = None) -> ConsoleStatus:
    """Tell how the unit does, for one quiet line."""
    with desk.spool() as spool:
        return studies.status_of(desk.unit, spool, desk.bundle, desk.language(lang))


@api.get("/studies")
def list_studies(
    desk: At,
    day: Annotated[Day | None, Query(description="local time of the unit; else today")] = None,
    lang: Lang = None,
) -> StudyList:
    """List the studies of a day, newest first; none in shadow mode."""
    with desk.spool() as spool:
        return studies.studies_of_day(spool, desk.bundle, desk.headers, day, desk.language(lang))


@api.get("/studies/{study_uid}")
def show_study(desk: At, study_uid: Uid, lang: Lang = None) -> Study:
    """Show one study with its films, what came of them, and where that went."""
    with desk.spool() as spool:
        return studies.study_of(spool, desk.bundle, desk.headers, study_uid, desk.language(lang))


@api.get("/films/{sop_uid}")
def show_film(desk: At, sop_uid: Uid) -> FilmResult:
    """Tell how far a film is, and its result."""
    with desk.spool() as spool:
        return studies.film_of(spool, desk.bundle, sop_uid)


@api.get(
    "/films/{sop_uid}/image.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "the film"}},
)
async def show_picture(
    desk: At,
    sop_uid: Uid,
    overlay: Annotated[bool, Query(description="with boxes around what was marked")] = False,
    width: Annotated[int, Query(ge=64, le=4096, description="in pixels")] = 1024,
) -> Response:
    """Show the film as a picture, with or without what was marked on it."""

    def draw() -> bytes:
        with desk.spool() as spool:
            film = studies.newest_film(spool, desk.bundle, sop_uid)
        if film.row["removed_at"] is not None:
            raise RefusedError(
                410, "the film was deleted here, as those that are done with are",
                "Look at it in the archive",
            )  # fmt: skip
        return picture_of(film.path, width, film.screening if overlay else None)

    async with desk.pictures:
        return Response(await run_in_threadpool(draw), media_type="image/png")


@writes.post(
    "/films",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                FILM_TYPE: {"schema": {"type": "string", "format": "binary"}},
                JSON_TYPE: {"schema": FilmPath.model_json_schema()},
            },
        }
    },
)
async def submit_film(desk: At, caller: By, request: Request) -> Submitted:
    """Take a film: its bytes, or on the Unix socket the path of its file.

    Answered once film and place in the queue are on the disk. What cannot be understood is kept in
    quarantine and refused.
    """
    if desk.submissions.locked():
        raise RefusedError(
            503, "too many films are being received", "Try again in a moment", {"Retry-After": "1"}
        )
    async with desk.submissions:
        if body_type(request.headers) == FILM_TYPE:
            said = request.headers.get("content-length")
            return await desk.submitter.take_body(
                request.stream(), None if said is None else int(said), caller.name
            )
        if not caller.local:
            raise RefusedError(
                403, "films are taken by their path on the Unix socket only", "Send its bytes"
            )
        asked = await _film_path(request)
        return await run_in_threadpool(desk.submitter.take_path, asked, caller.name)


@writes.post("/films/{sop_uid}/withdraw")
def withdraw_film(desk: At, caller: By, sop_uid: Uid, asked: Withdrawal) -> Withdrawn:
    """Take a film back: nothing more of it is sent, and what was sent is rejected."""
    reason = Reason[asked.reason.replace("-", "_").upper()]
    with desk.spool() as spool:
        if spool.row("SELECT 1 FROM film WHERE sop_instance_uid = ?", sop_uid) is None:
            raise RefusedError(404, "no film with this UID is here", "Check the UID")
        person = f"{asked.person.strip()} (by {caller.name})"
        return Withdrawn(films=withdraw(spool, sop_uid, reason, person))


@api.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events `study`"}},
)
async def listen(desk: At, request: Request) -> StreamingResponse:
    """Tell what changes from now on, or from behind Last-Event-ID, as server-sent events."""
    await run_in_threadpool(_check_live, desk)
    desk.events.check_room()
    stream = desk.events.stream(request.headers.get("last-event-id"))
    return StreamingResponse(stream, media_type="text/event-stream")


@writes.post("/studies/{study_uid}/reads", status_code=201)
def say_of_study(desk: At, study_uid: Uid, said: StudyRead) -> ReadAdded:
    """Say whether the unit was right about a study."""
    with desk.spool() as spool:
        studies.must_tell(spool, desk.bundle)
        return ReadAdded(id=add_read(spool, study_uid, said.verdict, said.reason, said.reader))


@writes.post("/session")
async def sign_in(
    desk: At, request: Request, response: Response, shown: TokenSignIn | AccountSignIn
) -> SignedIn:
    """Sign in; the cookie that comes with the answer is for the unit's own page."""
    address = request.client.host if request.client else ""
    session = await desk.access.sign_in(shown, address)
    response.set_cookie(
        COOKIE, session.cookie, max_age=int(SESSION_S), path="/", httponly=True,
        samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip
    return SignedIn(name=session.name, until=datetime.fromtimestamp(session.until, UTC))


@api.post("/session/end", status_code=204)
async def sign_out(response: Response) -> None:
    """Sign out: the browser forgets the cookie."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


@api.get("/words")
async def list_words(desk: At, lang: Lang = None) -> dict[str, str]:
    """List the labels of the page, by name; among them the language's code and direction."""
    return words(desk.language(lang))


@api.get("/openapi.json", include_in_schema=False)
async def describe() -> Response:
    """Describe the API."""
    return Response(described(), media_type=JSON_TYPE)


page = APIRouter(include_in_schema=False)


@page.get("/")
async def show_page() -> Response:
    """Give the page."""
    return _file("index.html")


@page.get("/page/{name}")
async def show_page_file(name: str) -> Response:
    """Give a file of the page."""
    return _file(name)


def build_app() -> FastAPI:
    """Return the application; its state needs a `desk` before the first request."""
    app = FastAPI(
        title="osteoedge console",
        version="1",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
        responses={
            "default": {"model": Problem, "description": "refused: what happened, what to do"}
        },
    )
    app.include_router(api)
    app.include_router(writes)
    app.include_router(page)
    app.add_exception_handler(OsteoedgeError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)
    return app


def openapi() -> dict[str, Any]:
    """Return the description of the API, made from its routes."""
    description = build_app().openapi()
    description["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "account": {"type": "http", "scheme": "basic"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    description["security"] = [{"token": []}, {"account": []}, {"session": []}]
    description["paths"]["/v1/session"]["post"]["security"] = []
    description["paths"]["/v1/words"]["get"]["security"] = []
    return description


def described() -> bytes:
    """Return the description as it is committed."""
    return resources.files("edge_runtime.console").joinpath("openapi.json").read_bytes()


async def _film_path(request: Request) -> Path:
    try:
        return Path(FilmPath.model_validate_json(await request.body()).path)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _check_live(desk: Desk) -> None:
    with desk.spool() as spool:
        studies.must_tell(spool, desk.bundle)


def _file(name: str) -> Response:
    folder = resources.files("edge_runtime.console").joinpath("page")
    file = folder.joinpath(name)
    # The route's name has no slash: nothing above the folder can be meant but by dots.
    if name.startswith(".") or not file.is_file():
        raise RefusedError(404, "the page has no such file", "Open the page at /")
    kind = guess_type(name)[0] or "application/octet-stream"
    return Response(file.read_bytes(), media_type=kind)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, OsteoedgeError)
    if not isinstance(error, RefusedError):
        log.error("not done", exc_info=error)
    return problem_of(error)


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # What was sent is not told again: it may be a name.
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, f"{where}: {first['msg']}", "Correct it; openapi.json has what is asked")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedy = _REMEDIES.get(error.status_code, "See openapi.json")
    return problem(error.status_code, str(error.detail), remedy, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    # The server logs it, with its place.
    return problem(500, "something went wrong in the console", "See the unit's log")
