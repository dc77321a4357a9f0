"""Which server a sweep lives on, and how every process of the sweep gets access without carrying a credential.

A ServerRef can be pickled into jobs and written to disk: it holds no secret. Each process opens it for itself: the
embedded server's key is in a file that only its owner can read, W&B's in the environment or in netrc.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ._errors import ServerUnreachableError, SettingError, SweepError
from ._transport import ServerAccess

if TYPE_CHECKING:
    from wandb_sweep_server.launch import PreparedServer

WANDB_CLOUD_URL = "https://api.wandb.ai"
LOCAL_DIRECTORY = ".wandb_sweep_server"
# Where pages of W&B's cloud are.
_CLOUD_HOSTS = frozenset({"wandb.ai", "www.wandb.ai", "app.wandb.ai", "api.wandb.ai"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 (compared only)
# How long a trial waits for an embedded server that is just being restarted: it was there when the trial was claimed.
_RESTART_S = 300.0


@dataclass(frozen=True)
class ServerRef:
    """kind: 'local' (embedded; `place` is its directory) or 'wandb' (`place` is the API's URL).

    is_own: what is at that URL is an embedded server too, which somebody else sees to.
    """

    kind: str
    place: str
    is_own: bool = False

    @property
    def is_local(self) -> bool:
        """True for the embedded server of a directory: it is started and found there."""
        return self.kind == "local"

    @property
    def is_embedded(self) -> bool:
        """True for an embedded server, wherever it is."""
        return self.is_local or self.is_own

    def open(self, environ: Mapping[str, str] = os.environ) -> ServerAccess:
        """Return access for this process. Errors: ServerUnreachableError, SettingError (no login)."""
        if self.is_local:
            return _open_local(Path(self.place))
        key = find_login(self.place, environ)
        if key is None:
            raise SettingError("server", self.place, _no_login_rule(self.place))
        return ServerAccess(self.place, _app_url(self.place, environ), key)

    def open_patiently(
        self, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> ServerAccess:
        """Return access, waiting up to 5 minutes for an embedded server that is nowhere now. Errors: as of `open`."""
        deadline = clock() + _RESTART_S
        while True:
            try:
                return self.open()
            except ServerUnreachableError:
                if clock() >= deadline:
                    raise
            sleep(1.0)


def choose_server(setting: str, project_dir: Path, environ: Mapping[str, str] = os.environ) -> ServerRef:
    """Return the server that `hydra.sweeper.server` means; nothing is started yet.

    project_dir: the directory below which the embedded server keeps its data.
    Errors: SettingError if W&B is asked for and no login is found.
    """
    if setting == "local":
        return ServerRef("local", str(project_dir / LOCAL_DIRECTORY))
    url = setting if "://" in setting else wandb_base_url(environ)
    if find_login(url, environ) is not None:
        return ServerRef("wandb", url)
    if setting == "auto":
        return ServerRef("local", str(project_dir / LOCAL_DIRECTORY))
    raise SettingError("server", setting, _no_login_rule(url))


def server_of_page(url: str, project_dir: Path, environ: Mapping[str, str] = os.environ) -> ServerRef:
    """Return the server that a page's URL names, and never another one. project_dir: as of choose_server.

    Errors: SweepError if there is no access to it, with how to get some.
    """
    server = _server_at(url, project_dir, environ)
    if not server.is_local and find_login(server.place, environ) is None:
        raise SweepError(
            f"'{url}' is at {server.place}, for which there is no login (neither WANDB_API_KEY nor a netrc entry): "
            f"run `{_login_command(server)}`. If it is an embedded server: run this command where the sweep was "
            "started, or name the sweep's directory instead."
        )
    return server


def server_to_join(url: str, setting: str, project_dir: Path, environ: Mapping[str, str] = os.environ) -> ServerRef:
    """Return the server of the sweep whose page's URL is `hydra.sweeper.sweep_id`, and never another one.

    setting: `hydra.sweeper.server`. project_dir: as of choose_server.
    Errors: SettingError if the setting means another server, or there is no access to that one.
    """
    server = _server_at(url, project_dir, environ)
    if setting != "auto":
        place = _place_meant(setting, project_dir, environ)
        if place != server.place and _app_url(place, environ) != _origin(url):
            raise SettingError(
                "server",
                setting,
                f"contradicts hydra.sweeper.sweep_id={url}, which is at {server.place}; leave it out",
            )
        return choose_server(setting, project_dir, environ)
    if not server.is_local and find_login(server.place, environ) is None:
        raise SettingError(
            "sweep_id",
            url,
            f"is at {server.place}, for which there is no login (neither WANDB_API_KEY nor a netrc entry); run "
            f"`{_login_command(server)}`, or, if it is an embedded server, this command where the sweep was started",
        )
    return server


def _server_at(url: str, project_dir: Path, environ: Mapping[str, str]) -> ServerRef:
    local = project_dir / LOCAL_DIRECTORY
    if _is_page_of(local, url):
        return ServerRef("local", str(local))
    place = _origin(url)
    base_url = wandb_base_url(environ)
    if urlsplit(url).hostname in _CLOUD_HOSTS:
        place = WANDB_CLOUD_URL
    elif place == _app_url(base_url, environ):
        place = base_url
    return ServerRef("wandb", place)


def _place_meant(setting: str, project_dir: Path, environ: Mapping[str, str]) -> str:
    """The place of the server that 'local', 'wandb' or a URL means, whether there is access to it or not."""
    if setting == "local":
        return str(project_dir / LOCAL_DIRECTORY)
    return setting.rstrip("/") if "://" in setting else wandb_base_url(environ)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _login_command(server: ServerRef) -> str:
    return "wandb login" if server.place == WANDB_CLOUD_URL else f"wandb login --host {server.place}"


def _is_page_of(directory: Path, url: str) -> bool:
    """True if a URL leads to the embedded server of a directory, or to where that was when it ran last."""
    from wandb_sweep_server.address import last_port, read_address

    page, address = urlsplit(url), read_address(directory)
    if page.scheme != "http":
        return False
    if address is None:
        return page.hostname in _LOOPBACK and page.port == last_port(directory) != 0
    own = urlsplit(address.url)
    names = {own.hostname}
    if own.hostname in _LOOPBACK or address.host in _ALL_ADDRESSES:
        names |= _LOOPBACK
    return page.port == own.port and page.hostname in names


@contextlib.contextmanager
def prepared_if_local(server: ServerRef, host: str) -> Iterator[PreparedServer | None]:
    """While active, a process for the embedded server stands by if it is meant and isn't there; see start_if_local.

    Nothing is created: it begins only if it is used, and has imported by then what it needs.
    """
    if not server.is_local:
        yield None
        return
    from wandb_sweep_server.launch import PreparedServer, read_address

    if read_address(Path(server.place)) is not None:
        yield None
        return
    with PreparedServer(Path(server.place), host=host) as prepared:
        yield prepared


def start_if_local(server: ServerRef, host: str, prepared: PreparedServer | None = None) -> None:
    """Start the embedded server if it is meant and doesn't run. host: the address it listens on.

    prepared: what may be used for it, of the same host. Errors: ServerUnreachableError with the end of the server's
    log.
    """
    if server.is_local:
        from wandb_sweep_server.launch import ServerStartError, ensure_running

        try:
            ensure_running(Path(server.place), host=host, prepared=prepared)
        except ServerStartError as error:
            raise ServerUnreachableError(str(error)) from error


def wandb_base_url(environ: Mapping[str, str]) -> str:
    """Return the W&B server in use: WANDB_BASE_URL, else `wandb login --host`'s settings file, else W&B cloud."""
    if url := environ.get("WANDB_BASE_URL"):
        return url.rstrip("/")
    config_dir = environ.get("WANDB_CONFIG_DIR") or str(_home(environ) / ".config" / "wandb")
    settings = Path(config_dir) / "settings"
    if not os.path.exists(settings):  # unlike Path.exists, without an error where nobody may look
        return WANDB_CLOUD_URL

    import configparser  # a millisecond that few need

    parser = configparser.ConfigParser()
    try:
        parser.read(settings)
        url = parser.get("default", "base_url", fallback=None)
    except configparser.Error:
        url = None
    return (url or WANDB_CLOUD_URL).rstrip("/")


def find_login(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the API key for a W&B server where `wandb login` would have put it, None if there is none."""
    if key := environ.get("WANDB_API_KEY"):
        return key

    import netrc

    host = urlsplit(url).hostname or ""
    home = _home(environ)
    for path in filter(None, (environ.get("NETRC"), str(home / ".netrc"), str(home / "_netrc"))):
        try:
            entry = netrc.netrc(path).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if entry and entry[2]:
            return entry[2]
    return None


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def _no_login_rule(url: str) -> str:
    return (
        f"no login for {url} (neither WANDB_API_KEY nor a netrc entry); run `wandb login`, "
        "or use hydra.sweeper.server=local for the embedded server"
    )


def _app_url(url: str, environ: Mapping[str, str]) -> str:
    if app := environ.get("WANDB_APP_URL"):
        return app.rstrip("/")
    return "https://wandb.ai" if url == WANDB_CLOUD_URL else url


def _open_local(directory: Path) -> ServerAccess:
    from wandb_sweep_server.launch import read_address

    address = read_address(directory)
    if address is None:
        raise ServerUnreachableError(
            f"The embedded sweep server of {directory} isn't running. Start the sweep again with the same "
            f"command, or run `hydra-sweep serve --dir {directory}`."
        )
    return ServerAccess(address.url, address.url, address.api_key, is_local=True)
