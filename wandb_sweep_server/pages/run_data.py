"""What the page of a run shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from wandb_sweep_server import jsontext
from wandb_sweep_server.records import Project, Run
from wandb_sweep_server.store import Store

from .run_facts import reason_of, state_of, times_of

# Lines of a log that the store reads in one piece of work.
_LINES_AT_ONCE = 2_000
_ASSIGNMENTS = (
    "SELECT began_at, assignments.ended_at, how, COALESCE(agents.label, agents.name) AS agent, agents.job AS job, "
    "agents.host AS host "
    "FROM assignments LEFT JOIN agents ON agents.id = agent_id WHERE run_id = ? ORDER BY assignments.id"
)


def run_data(store: Store, project: Project, run: Run, now_s: float) -> dict[str, Any]:
    """State, config, summary and files of a run; in the store's thread."""
    sweep = None if run.sweep_id is None else store.sweeps.by_id(run.sweep_id)
    assignments = store.database.rows(_ASSIGNMENTS, (run.id,))
    last = assignments[-1] if assignments else None
    summary = jsontext.loads(run.summary)
    config = jsontext.loads(run.config)
    return {
        "run": {
            "entity": project.entity,
            "project": project.name,
            "sweep": sweep and sweep.name,
            "id": run.name,
            "name": run.display_name or run.name,
            "state": state_of(vars(run)),
            **vars(times_of(vars(run), assignments, now_s)),
            "now": now_s,
            "host": run.host or (last and last["host"]),
            "agent": last and last["agent"],
            "job": last and last["job"],
            "reason": reason_of(vars(run), summary),
            "exit_code": run.exit_code,
            "tags": jsontext.loads(run.tags),
            "notes": run.notes,
            "group": run.group_name,
            "job_type": run.job_type,
            "program": run.program,
            "repo": run.repo,
            "commit": run.commit_hash,
            "log_lines": run.log_lines,
            "assignments": [dict(row) for row in assignments],
        },
        # The SDK's own part is of no interest to people.
        "config": {key: _unwrapped(value) for key, value in config.items() if key != "_wandb"},
        "summary": {key: value for key, value in summary.items() if key != "_wandb"},
        "files": [{"name": file.name, "size_bytes": file.size_bytes} for file in store.files.of_run(run, None)],
    }


def _unwrapped(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value else value


async def log_text(store: Store, run: Run, tail: int | None) -> AsyncIterator[bytes]:
    """Yield a run's console log, or its last lines, as UTF-8."""
    first = 0 if tail is None else max(0, run.log_lines - tail)
    while first < run.log_lines:
        lines = await store.run(partial(store.runs.lines, run, "log", first, _LINES_AT_ONCE))
        if not lines:
            return
        yield "".join(f"{text.removesuffix(chr(10))}\n" for _, text in lines).encode(errors="replace")
        first = lines[-1][0] + 1
