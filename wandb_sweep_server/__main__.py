"""`python -m wandb_sweep_server --dir DIR`: run the server of a directory until it is told to stop or idle."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
import sqlite3
import sys
from pathlib import Path

import uvicorn

from .address import ServerAddress, api_key, keep_port, last_port, remove_address, write_address
from .app import Activity, build_app
from .database import SchemaVersionError
from .launch import STATUS_OWNED
from .lock import DirectoryLock, DirectoryOwnedError
from .store import Limits, Store

log = logging.getLogger("wandb_sweep_server")

_HOUSEKEEPING_S = 5.0


def main() -> int:
    """Returns the exit status: 0 after a clean end, STATUS_OWNED or 1 if the directory can't be served."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    directory: Path = options.dir.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock = DirectoryLock(directory)
        limits = Limits(
            crash_timeout_s=options.crash_timeout_s, open_sweep_timeout_s=options.open_sweep_timeout_days * 86_400
        )
        store = Store(directory, limits)
    except (DirectoryOwnedError, SchemaVersionError) as error:
        print(error, file=sys.stderr)
        return STATUS_OWNED if isinstance(error, DirectoryOwnedError) else 1
    listener = _listen(options.host, options.port or last_port(directory))
    address = ServerAddress(
        _url(options.host, listener), api_key(directory), directory, os.getpid(), options.host, secrets.token_hex(8)
    )
    keep_port(directory, listener.getsockname()[1])
    asyncio.run(_serve(store, address, listener, options.idle_timeout_s))
    del lock  # held until here
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wandb_sweep_server", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where the data is; one server per directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: all)")
    parser.add_argument("--port", type=int, default=0, help="0: the last one of this directory, else any free one")
    parser.add_argument("--idle-timeout-s", type=float, default=3600.0, help="end after so long without requests")
    parser.add_argument(
        "--open-sweep-timeout-days",
        type=float,
        default=7.0,
        help="an open sweep without news for so long is idle too",
    )
    parser.add_argument("--crash-timeout-s", type=float, default=300.0, help="a run silent for so long has crashed")
    return parser


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


async def _serve(store: Store, address: ServerAddress, listener: socket.socket, idle_timeout_s: float) -> None:
    activity = Activity()
    app = build_app(store, address.api_key, address.instance, activity)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
        # Longer than clients pause between heartbeats (W&B's: up to 30 s): a request that meets a closing connection
        # is lost.
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    housekeeping = asyncio.create_task(_keep_house(store, server, activity, idle_timeout_s))
    # Connections wait in the listener's queue until the app is up: whoever reads the address may connect.
    write_address(address)
    log.info("serving %s at %s", address.directory, address.url)
    try:
        await server.serve(sockets=[listener])
    finally:
        housekeeping.cancel()
        remove_address(address)
        log.info("ended")


async def _keep_house(store: Store, server: uvicorn.Server, activity: Activity, idle_timeout_s: float) -> None:
    """Conclude that silent runs have crashed; end the server when it is idle."""
    while True:
        await asyncio.sleep(min(_HOUSEKEEPING_S, max(0.1, idle_timeout_s / 4)))
        try:
            await store.run(store.agents.lose_silent_runs)
            await store.remove_deleted_files()
            is_idle = activity.idle_s > idle_timeout_s and not await store.run(store.is_awaited)
        except (sqlite3.Error, OSError):
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
