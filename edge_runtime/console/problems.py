"""Refusals, in one form wherever they arise: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from edge_runtime.errors import (
    FeedbackError,
    OsteoedgeError,
    RadiographError,
    ShadowModeError,
    SpoolError,
    SpoolFullError,
    UndecidedStudyError,
    UnknownStudyError,
)

# The first that an error is counts.
_STATUSES: tuple[tuple[type[OsteoedgeError], int], ...] = (
    (SpoolFullError, 507),
    (SpoolError, 503),
    (UnknownStudyError, 404),
    (UndecidedStudyError, 409),
    (ShadowModeError, 403),
    (FeedbackError, 422),
    (RadiographError, 422),
    (OsteoedgeError, 500),
)


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
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    return problem(status, error.what, error.remedy)
