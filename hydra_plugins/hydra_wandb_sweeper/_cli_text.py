"""What `hydra-sweep` prints for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._wording import shown_overrides

if TYPE_CHECKING:
    from ._status import SweepStatus
    from ._sync_command import Synced

_MOST_SHOWN = 10


def status_text(shown: SweepStatus) -> str:
    """The answer of `hydra-sweep status`."""
    of = f" of {shown.expected}" if shown.expected is not None else ""
    counts = ", ".join(f"{count} {state}" for state, count in shown.trials.items() if count) or "none has begun"
    watched = f", supervised by {shown.supervisor}" if shown.supervisor else ""
    lines = [
        f"Sweep {shown.sweep}: {shown.state}{watched}" + (f" ({shown.reason})" if shown.reason else ""),
        shown.url,
        f"Trials{of}: {counts}",
    ]
    if shown.best_value is not None:
        which = f"trial {shown.best_trial}: " if shown.best_trial is not None else ""
        overrides = shown_overrides(shown.best_overrides or ())
        lines.append(f"Best {shown.metric}: {shown.best_value:.6g} ({which}{overrides})")
    lines += shown.notes
    if agents := agent_lines(shown):
        lines += ["Agents:", *(f"  {line}" for line in agents)]
    if shown.keeper is not None:
        lines.append(f"Job {shown.keeper} sees to what is left when agents have ended.")
    if shown.stopped:
        lines += ["Stopped:", *(f"  trial {trial.trial}: {trial.reason}" for trial in shown.stopped[-_MOST_SHOWN:])]
        lines += _more(len(shown.stopped))
    if shown.failures:
        lines.append("Failures:")
        lines += [line for failure in shown.failures[:_MOST_SHOWN] for line in _failure_lines(failure)]
        lines += _more(len(shown.failures))
    return "\n".join(lines)


def _more(count: int) -> list[str]:
    return [f"  and {count - _MOST_SHOWN} more (--json has all)"] if count > _MOST_SHOWN else []


def sync_lines(synced: Synced, is_dry_run: bool) -> list[str]:
    """What became of one sweep in `hydra-sweep sync`."""
    counts = synced.counts
    table = [
        ("would be uploaded", synced.to_upload) if is_dry_run else ("uploaded", counts.uploaded),
        ("already there", counts.already_there),
        ("not ended yet", counts.open),
        ("failed", len(counts.failed)),
    ]
    lines = [f"Sweep {synced.source.path} -> {synced.target_url or 'no sweep yet'}"]
    lines += [f"  {name:<18}{count:>6}" for name, count in table if count or name.endswith("uploaded")]
    lines += [f"    run {run_id}: {reason}" for run_id, reason in counts.failed[:_MOST_SHOWN]]
    lines += _more(len(counts.failed))
    if synced.stopped is not None:
        lines.append(f"  stopped: {synced.stopped}")
    return lines


def agent_lines(shown: SweepStatus) -> list[str]:
    """A line for each agent that works."""
    return [
        f"{agent.name:<10} "
        + (f"job {agent.job} {agent.job_state}" if agent.job is not None else "in its supervisor's process")
        + (f" on {agent.host}" if agent.host else "")
        + (f", trial {agent.trial} for {agent.trial_s:.0f} s" if agent.trial is not None else "")
        + f", {agent.trials} ended"
        for agent in shown.agents
        if agent.ended is None
    ]


def _failure_lines(failure: Any) -> list[str]:
    name = f"trial {failure.trial}" if failure.trial is not None else f"run {failure.run_id}"
    lines = [f"  {name}: {failure.error}"]
    if failure.log is not None:
        lines.append(f"    {failure.log}: {failure.last_line}")
    return lines
