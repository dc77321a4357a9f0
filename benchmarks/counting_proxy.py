"""Stands between clients and a server, and counts what is asked: by operation for GraphQL, by path for the rest.

For benchmarks: `with CountingProxy(url) as proxy: … proxy.url … proxy.counts()`. A process of its own, a thread for
each connection.
"""

from __future__ import annotations

import gzip
import http.client
import multiprocessing
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


def operation(path: str, body: bytes, encoding: str | None) -> str:
    """What a request asks for: the name of the GraphQL operation, or the path without what differs between runs."""
    path = urlsplit(path).path
    if path == "/graphql":
        text = gzip.decompress(body) if encoding == "gzip" else body
        found = re.search(rb"(?:query|mutation)\s+(\w+)", text)
        return found.group(1).decode() if found else "GraphQL"
    if path.endswith("/file_stream"):
        return "file_stream"
    return "/" + "/".join(path.split("/")[1:2])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = ""
    counts: Counter[str]
    lock: threading.Lock
    _upstream: http.client.HTTPConnection | None = None

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = operation(self.path, body, self.headers.get("Content-Encoding"))
        with self.lock:
            self.counts[name] += 1
        try:
            answer, content = self._ask(body)
        except (http.client.HTTPException, OSError):
            # The server has closed a connection that was idle.
            self._upstream = None
            answer, content = self._ask(body)
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in _HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(self.host)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        self._upstream.request(self.command, self.path, body, headers)
        answer = self._upstream.getresponse()
        return answer, answer.read()

    do_GET = do_POST = do_PUT = do_HEAD = _pass_on

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class _Listener(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed."""


def _serve(host: str, pipe: Any) -> None:
    counts: Counter[str] = Counter()
    members = {"host": host, "counts": counts, "lock": threading.Lock()}
    listener = _Listener(("127.0.0.1", 0), type("Handler", (_Handler,), members))
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    pipe.send(listener.server_port)
    while pipe.recv():
        pipe.send(dict(counts))


class CountingProxy:
    """url: of the server."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def __enter__(self) -> CountingProxy:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(self._host, theirs), daemon=True)
        self._process.start()
        self.url = f"http://127.0.0.1:{self._pipe.recv()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(False)
        self._process.join()

    def counts(self) -> Counter[str]:
        """How often each thing was asked for so far."""
        self._pipe.send(True)
        return Counter(self._pipe.recv())
