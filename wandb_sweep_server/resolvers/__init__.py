"""From GraphQL fields to the store. Each field is read from the row of its object; nothing is decided here."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ariadne import make_executable_schema
from graphql import GraphQLSchema

from wandb_sweep_server.errors import ClientError

from . import agents, artifact_mutations, artifacts, mutations, projects, queries, runs, scalars, sweeps

_SCHEMAS = ("schema.graphql", "artifacts.graphql")
_BINDABLES = (
    *scalars.BINDABLES,
    *queries.BINDABLES,
    *mutations.BINDABLES,
    *projects.BINDABLES,
    *runs.BINDABLES,
    *sweeps.BINDABLES,
    *agents.BINDABLES,
    *artifacts.BINDABLES,
    *artifact_mutations.BINDABLES,
)


def build_schema() -> GraphQLSchema:
    """Return the executable schema."""
    package = files("wandb_sweep_server")
    texts = [package.joinpath(name).read_text(encoding="utf-8") for name in _SCHEMAS]
    return make_executable_schema(texts, *_BINDABLES, convert_names_case=False)


def client_error(error: Any) -> ClientError | None:
    """The lasting error behind a GraphQL error, None if there is none."""
    original = getattr(error, "original_error", None)
    return original if isinstance(original, ClientError) else None
