"""Refusals, in one form wherever they arise: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from edge_runtime.errors import OsteoedgeError, RadiographError, SpoolError, SpoolFullError


class RefusedError(OsteoedgeError):
    """A request is refused.

    Parameters
    ----------
    status
        Of HTTP, 400 or more.
    """

    def __init__(
        self, status: int, what: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.headers = headers
        super().__init__(what, remedy)


def problem(
    status: int, what: str, remedy: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a refusal as it is sent."""
    return JSONResponse({"error": what, "remedy": remedy}, status, headers)


def problem_of(error: OsteoedgeError) -> JSONResponse:
    """Return what is answered where an error of ours ended a request."""
    if isinstance(error, RefusedError):
        return problem(error.status, error.what, error.remedy, error.headers)
    if isinstance(error, SpoolFullError):
        status = 507
    elif isinstance(error, SpoolError):
        status = 503
    else:
        status = 422 if isinstance(error, RadiographError) else 500
    return problem(status, error.what, error.remedy)
