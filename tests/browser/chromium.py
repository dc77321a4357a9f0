"""Debian's Chromium, for the tests of web pages.

    python -m tests.browser.chromium      # installs it if it is missing, or says why that can't be done

Tests are skipped where there is none, and fail there if CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PACKAGES = ("chromium", "chromium-driver")
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
    "--window-size=1280,900",
)


def obstacle(*, install: bool) -> str | None:
    """Return why there can be no browser here, None if there can. install: bring missing packages along."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return None
    if sys.platform != "linux" or not shutil.which("apt-get"):
        return "it needs Debian's Chromium"
    if not install:
        return f"Debian's packages {' and '.join(PACKAGES)} are not installed"
    if os.geteuid() != 0:
        return f"only root can install Debian's packages {' and '.join(PACKAGES)}"
    return _install()


def _install() -> str | None:
    print(f"Installing {' and '.join(PACKAGES)} for the tests of web pages.", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        # Another target may be installing packages at the same time.
        lock = ["-o", "DPkg::Lock::Timeout=300"]
        done = subprocess.run(["apt-get", *lock, *command], env=env, capture_output=True, text=True)
        if done.returncode != 0:
            return f"`apt-get {command[0]}` failed: {done.stderr.strip()[-500:]}"
    return None


@contextmanager
def started(directory: Path) -> Iterator[Chrome]:
    """A browser with an empty profile in that directory; it is ended, and nothing of it is left."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*_ARGUMENTS, f"--user-data-dir={directory}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The driver's path is given, so that selenium doesn't look for one on the internet.
    driver = Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def main() -> int:
    """Returns 0 in any case: tests say themselves what is missing."""
    reason = obstacle(install=True)
    if reason is not None:
        print(f"No browser here, tests of web pages are skipped: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
