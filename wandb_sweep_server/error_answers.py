"""What clients are told when something is wrong, with a status that W&B's SDK understands."""

from __future__ import annotations

import errno
import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from .errors import ClientError, NotFoundError, RetryLaterError

log = logging.getLogger(__name__)

# Addresses that hold a secret: the log leaves it out.
SECRET_PATHS = ("/upload/", "/blob/")
_DISK_AGAIN_S = 5.0


def errors(message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"errors": [{"message": message}]}


async def _client_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ClientError)
    return answer(error)


def answer(error: ClientError) -> Response:
    """The answer to what a client did wrong."""
    headers = {}
    if isinstance(error, RetryLaterError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse(errors(str(error)), error.status, headers)


async def _client_left(*_: object) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _storage_error(request: Request, error: Exception) -> Response:
    if isinstance(error, FileNotFoundError):  # removed with its run a moment ago
        return answer(NotFoundError("this file is gone"))
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return answer(ClientError(f"the server's file system can't have such a name: {error.strerror}"))
    log.error("%s %s can't be answered for now: %s", request.method, _shown_path(request), error)
    words = error.strerror if isinstance(error, OSError) else str(error)
    message = f"the server's disk doesn't let it write ({words}); it goes on as soon as that is over"
    return answer(RetryLaterError(message, retry_after_s=_DISK_AGAIN_S))


async def _not_found(request: Request, _: Exception) -> Response:
    return JSONResponse(errors(f"{request.method} {request.url.path} is not available in this server"), 404)


async def _server_error(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, _shown_path(request), exc_info=error)
    return JSONResponse(errors(f"the server failed: {type(error).__name__}; see its log"), 500)


def _shown_path(request: Request) -> str:
    """The path for the log."""
    path = request.url.path
    return next((f"{start}…" for start in SECRET_PATHS if path.startswith(start)), path)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    ClientError: _client_error,
    ClientDisconnect: _client_left,
    # What the disk is to blame for. Clients ask again on a 503, and so lose nothing.
    sqlite3.OperationalError: _storage_error,
    OSError: _storage_error,
    404: _not_found,
    405: _not_found,
    Exception: _server_error,
}
