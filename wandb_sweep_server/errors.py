"""Errors that a client caused and that repeating the request will not cure."""

from __future__ import annotations


class ClientError(Exception):
    """A lasting error; its text is what the user of the SDK gets to read.

    The SDK repeats requests on 5xx, 409 and 429 for minutes to days, so lasting errors must carry
    another 4xx status.
    """

    status = 400


class ForbiddenError(ClientError):
    """Whoever asks may look, but this request doesn't come from one of this server's pages."""

    status = 403


class NotFoundError(ClientError):
    """A thing that the request names does not exist."""

    status = 404


class GoneError(ClientError):
    """A thing that the request names was deleted. W&B says 409 here, on which the SDK tries again for 90 s."""

    status = 410


class TooLargeError(ClientError):
    """A body exceeds its limit."""

    status = 413


class UnsupportedEncodingError(ClientError):
    """A body is compressed in a way that this server can't read."""

    status = 415


class RetryLaterError(ClientError):
    """What can't be answered now, but later; `retry_after_s` says when to ask again."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyError(RetryLaterError):
    """A client asks too often, or for too much at once."""

    status = 429


class SlowClientError(ClientError):
    """A body came too slowly. Clients ask again: the network may have been the reason."""

    status = 408
