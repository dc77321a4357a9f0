"""Errors that reach the user. Each names the thing, its value, the rule and the next step.

They derive from Hydra's CompactHydraException, for which Hydra prints the message alone instead of a traceback.
"""

from __future__ import annotations

from hydra.errors import CompactHydraException


class SweepError(CompactHydraException):
    """Base of everything this plugin raises on purpose."""


class SettingError(SweepError):
    """A setting below `hydra.sweeper` is unknown, malformed or contradicts another one."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"hydra.sweeper.{field}={value!r}: {rule}")
        self.field = field
        self.value = value
        self.rule = rule


class SearchSpaceError(SweepError):
    """A parameter of the search space can't be translated."""

    def __init__(self, key: str, value: object, rule: str) -> None:
        super().__init__(f"Search space, parameter '{key}' = {value}: {rule}")
        self.key = key
        self.rule = rule


class ServerError(SweepError):
    """The sweep server answered with a lasting error; `status` is the HTTP status (200 for a GraphQL error)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_login(self) -> bool:
        """True if the server doesn't let the user in, or not there."""
        return self.status in (401, 403)


class ServerUnreachableError(SweepError):
    """The sweep server gave no usable answer within the configured time."""


class SweepDirectoryError(SweepError):
    """The sweep directory can't be written to, or is full."""


class SweepFailedError(SweepError):
    """The sweep ended, but not as it should have: too many failed trials, or work that nobody could do.

    is_limit: jobs were refused only because there are too many for now.
    """

    def __init__(self, message: str, *, is_limit: bool = False) -> None:
        super().__init__(message)
        self.is_limit = is_limit
