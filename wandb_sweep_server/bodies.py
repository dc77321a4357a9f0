"""Bodies of requests: within limits of size, time and memory, whatever a client sends and however slowly."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
from starlette.requests import Request

from .errors import BusyError, ClientError, SlowClientError, TooLargeError, UnsupportedEncodingError

_GZIP = 16 + zlib.MAX_WBITS
_BLOCK_BYTES = 2**20
# Decompressed in pieces, so that a bomb is noticed when the limit is reached and not when it has gone off.
_PIECE_BYTES = 2**18


@dataclass(frozen=True)
class BodyLimits:
    """pause_s: between two parts of a body. start_s: until the first one, after which it has to keep up with
    least_bytes_per_s. held_bytes: of all bodies in memory at a time."""

    pause_s: float = 30.0
    start_s: float = 60.0
    least_bytes_per_s: float = 32 * 2**10
    held_bytes: int = 512 * 2**20


class Bodies:
    """Reads the bodies of requests."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    async def whole(self, request: Request, limit_bytes: int) -> bytes:
        """Return the body, decompressed.

        Raises:
            BusyError: Other bodies take all the memory there is for them.
            ClientError: As `parts` does.
        """
        chunks, size = [], 0
        try:
            async for chunk in self.parts(request, limit_bytes):
                others_bytes = self._held_bytes - size
                if others_bytes and self._held_bytes + len(chunk) > self._limits.held_bytes:
                    raise BusyError("the server holds too many large requests already", retry_after_s=5.0)
                size += len(chunk)
                self._held_bytes += len(chunk)
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            self._held_bytes -= size

    async def parts(self, request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body part by part, decompressed.

        Raises:
            TooLargeError: It is longer, before or after decompression.
            SlowClientError: It comes too slowly.
            UnsupportedEncodingError: It is compressed by anything but gzip.
            ClientError: It is no gzip though it says so.
        """
        too_large = TooLargeError(f"the body has more than {limit_bytes} bytes, which is this server's limit")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise UnsupportedEncodingError(f"content-encoding {encoding!r}: this server reads gzip and identity")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit_bytes:
            raise too_large
        raw = self._timely(request)
        size = 0
        async for chunk in _gunzipped(raw) if "gzip" in encoding else raw:
            size += len(chunk)
            if size > limit_bytes:
                raise too_large
            yield chunk

    async def _timely(self, request: Request) -> AsyncIterator[bytes]:
        stream, limits = request.stream(), self._limits
        end_s = anyio.current_time() + limits.start_s
        while True:
            try:
                with anyio.fail_after(min(limits.pause_s, end_s - anyio.current_time())):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise SlowClientError(
                    f"the body came too slowly: at most {limits.pause_s:.0f} s between two parts of it, and from "
                    f"{limits.start_s:.0f} s on it must come at {limits.least_bytes_per_s:.0f} bytes per second"
                ) from error
            end_s += len(chunk) / limits.least_bytes_per_s
            yield chunk


async def _gunzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(_GZIP)
    try:
        async for chunk in chunks:
            while chunk and not inflater.eof:
                yield inflater.decompress(chunk, _PIECE_BYTES)
                chunk = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise ClientError(f"the body is not valid gzip: {error}") from error
    if not inflater.eof:
        raise ClientError("the body is not valid gzip: it ends too early")


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces, each worth a thread's time."""
    held, size = [], 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _BLOCK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
