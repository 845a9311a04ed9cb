"""Problems: every answer that is not a success, in one shape that names the field and what to do."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ehrbench.core.errors import DataError
from ehrbench.tasks.names import LONGEST

BODY = "request"  # what a raw input is called that came without a file name


class Problem(Exception):
    """Raised anywhere in a request to end it with ``status``."""

    def __init__(
        self,
        status: int,
        problem: str,
        *,
        file: object = None,
        record: object = None,
        field: object = None,
        remedy: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.status, self.problem, self.remedy, self.retry_after_s = status, problem, remedy, retry_after_s
        self.file, self.record, self.field = file, record, field

    @staticmethod
    def of(error: DataError) -> Problem:
        """The 422 that tells a caller which field of which record cannot be read; ``BODY`` names neither."""
        file, record = (None if place == BODY else place for place in (error.file, error.record))
        return Problem(422, error.problem, file=file, record=record, field=error.field, remedy=error.remedy)


class ProblemDetail(BaseModel):
    """What is wrong, where, and what to do."""

    status: int
    problem: str = Field(examples=["'abc' is not a number"])
    file: str | None = None
    record: str | None = None
    field: str | None = Field(None, examples=["HR"])
    remedy: str | None = None


class ProblemAnswer(BaseModel):
    """Body of every answer that is not a success."""

    error: ProblemDetail
    request_id: str


def problem_detail(problem: Problem) -> ProblemDetail:
    """What is said of it."""
    return ProblemDetail(
        status=problem.status,
        problem=problem.problem,
        file=_text(problem.file),
        record=_text(problem.record),
        field=_text(problem.field),
        remedy=problem.remedy or None,
    )


def problem_response(request_id: str, problem: Problem) -> JSONResponse:
    """``problem`` as an answer."""
    detail = problem_detail(problem)
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    body = ProblemAnswer(error=detail, request_id=request_id).model_dump(exclude_none=True)
    return JSONResponse(body, problem.status, headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every expected failure in the shape of ``ProblemAnswer``."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        return problem_response(request.state.request_id, error)

    @app.exception_handler(RequestValidationError)
    async def _query(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        problem = Problem(422, str(first["msg"]), field=".".join(str(part) for part in first["loc"]))
        return problem_response(request.state.request_id, problem)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        remedy = "see /docs for what this server answers" if error.status_code in (404, 405) else ""
        return problem_response(
            request.state.request_id, Problem(error.status_code, str(error.detail), remedy=remedy)
        )


def _text(value: object) -> str | None:
    """As it was named, cut short: a key or file name of the client's may be as long as its request."""
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
