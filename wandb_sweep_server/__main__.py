"""`python -m wandb_sweep_server --dir DIR`: run the server of a directory until it is told to stop or idle."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import resource
import secrets
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import uvicorn

from .address import ServerAddress, api_key, keep_out_of_git, keep_port, last_port, remove_address, write_address
from .app import Activity, build_app
from .attendance import Attendant, take_place
from .connections import Connections
from .database import SchemaVersionError
from .durable import make_directory, remove_partial_files
from .launch import STATUS_OWNED
from .lock import BEAT_S, DirectoryLock, DirectoryOwnedError, LockError
from .options import SettingsError, keep_settings, parse_options
from .store import Limits, Store

log = logging.getLogger("wandb_sweep_server")

_MOST_FILES = 16_384
_OTHER_FILES = 128  # the database, the log, and what is being up- and downloaded


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a clean end, STATUS_OWNED or 1 if the directory can't be served."""
    options = parse_options(arguments)
    directory: Path = options.dir.absolute()
    attendant = Attendant() if options.attended else None
    try:
        if attendant is not None:
            if not attendant.wait_for_word():
                return 0
            take_place(directory)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        make_directory(directory, 0o700)
        with DirectoryLock(directory) as lock:
            _run(directory, lock, options, attendant)
    except DirectoryOwnedError as error:
        print(error, file=sys.stderr)
        return STATUS_OWNED
    except (LockError, SchemaVersionError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"{directory} can't be served: {error}", file=sys.stderr)
        return 1
    return 0


def _run(directory: Path, lock: DirectoryLock, options: argparse.Namespace, attendant: Attendant | None) -> None:
    store = _store(directory, options)
    listener = _listen(options.host, options.port or last_port(directory))
    instance = secrets.token_hex(8)
    url = _url(options.host, listener)
    address = ServerAddress(url, api_key(directory), directory, os.getpid(), options.host, instance)
    keep_port(directory, listener.getsockname()[1])
    keep_out_of_git(directory)
    asyncio.run(_serve(store, address, listener, lock, options.idle_timeout_s or math.inf, attendant))


def _store(directory: Path, options: argparse.Namespace) -> Store:
    remove_partial_files(directory)
    settings = keep_settings(directory, options)
    limits = Limits(
        crash_timeout_s=settings.crash_timeout_s,
        unstarted_grace_s=settings.start_timeout_s,
        max_losses=settings.max_retries,
        open_sweep_timeout_s=settings.open_sweep_timeout_days * 86_400,
    )
    return Store(directory, limits)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer comes 40 ms late.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        if port == 0:
            raise
        listener.bind((host, 0))  # taken by another program meanwhile
    listener.listen(128)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    name = _own_name() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{listener.getsockname()[1]}"


def _own_name() -> str:
    """How other machines call this one. Some /etc/hosts give every name the alias localhost."""
    full = socket.getfqdn()
    return socket.gethostname() if full.startswith("localhost") else full


async def _serve(
    store: Store,
    address: ServerAddress,
    listener: socket.socket,
    lock: DirectoryLock,
    idle_timeout_s: float,
    attendant: Attendant | None,
) -> None:
    activity = Activity()
    connections = Connections(most=_most_connections())
    app = build_app(store, address.api_key, address.instance, activity, connections=connections)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        http=cast(Any, connections.protocol),  # called as a class of protocols would be
        ws="none",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=math.ceil(connections.quiet_s) + 1,  # left to Connections
    )
    server = _Server(config, app.end_streams)
    housekeeping = asyncio.create_task(_keep_house(store, server, activity, lock, idle_timeout_s))
    # Connections wait in the listener's queue until the app is up: whoever reads the address may connect.
    write_address(address)
    if attendant is not None:
        attendant.say_ready()
    log.info("serving %s at %s", address.directory, address.url)
    try:
        await server.serve(sockets=[listener])
    finally:
        housekeeping.cancel()
        remove_address(address)
        log.info("ended")


class _Server(uvicorn.Server):
    """Tells open pages to go before it waits for what is being answered."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_streams()
        await super().shutdown(sockets)


def _most_connections() -> int:
    """As many as there may be open files, which are made as many as the system allows within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(64, wanted - _OTHER_FILES)


async def _keep_house(
    store: Store, server: uvicorn.Server, activity: Activity, lock: DirectoryLock, idle_timeout_s: float
) -> None:
    """Conclude that silent runs have crashed; end the server when it is idle, or its directory was deleted."""
    every_s = min(BEAT_S, max(0.1, idle_timeout_s / 4))
    while True:
        await asyncio.sleep(every_s)
        if lock.is_deleted:
            log.info("its directory was deleted: it ends")
            server.should_exit = True
            return
        try:
            lock.beat()
            await store.run(lambda: store.keep_house(every_s))
            await store.remove_deleted_files()
            is_idle = activity.idle_s > idle_timeout_s and not await store.run(store.is_awaited)
        except (OSError, sqlite3.Error):
            log.exception("housekeeping failed and will be tried again")  # a full disk may have room again
            continue
        if is_idle:
            log.info("idle for %.0f s", activity.idle_s)
            server.should_exit = True
            return


if __name__ == "__main__":
    # uvicorn ends cleanly on these and then raises them again; by then everything is closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    sys.exit(main())
