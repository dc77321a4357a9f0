"""The record of a sweep's trials, kept in the sweep directory by its agents, with no process in charge of it.

Agents on many machines share it through a file system that may be NFS. It therefore relies on two things only: that
creating a hard link fails if the name is taken (so exactly one agent gets a trial number, an attempt, an offer), and
that each file of events has a single writer.

    sweep.json             what the sweep is (SweepRecord)
    supervisor.json        who watches the sweep (_watch)
    control/               what people want of it (_control)
    submission.pkl         what its jobs run, to submit more of them (_submission)
    job_numbers/N          numbers of jobs that are taken
    trials/NNNNNN.json     one per trial: its number belongs to whoever created the file
    runs/RUN_ID            the trial number of a run
    attempts/NNNNNN.K      one per attempt: the K-th run of a trial belongs to whoever created the file
    offers/NNNNNN.K.json   an attempt that any agent may take
    failed/NNNNNN          trials whose retries are used up
    events/NAME.jsonl      what happened, in the words of one agent (or of the supervisor)
    results/NNNNNN.K.json  what a trial's process says of its end; until then NNNNNN.K.dir points to its directory
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ._client import SweepRef
from ._errors import SweepError
from ._events import DIRECTORY, EventReader
from ._failures import DIRECTORIES as FAILURES
from ._failures import Failures
from ._files import append_durably, create_first, create_once, read_json, write_whole
from ._rerun import StartCommand
from ._server import ServerRef
from ._tally import first_free
from ._template import Template

_SUBDIRECTORIES = tuple(
    "trials runs attempts offers events results jobs job_numbers signs".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class SweepRecord:
    """What every process of a sweep needs to know of it; holds no credential.

    parameters: as in the sweep config; as read from a ledger, with only the first value where several are listed.
    expected_trials: how many there will be, None if only the server knows. swept: names of the parameters that
    differ between trials. url: of the sweep's page. is_ours: it was made by this plugin, not by other tools of W&B's.
    start: how the app was started, None where that isn't known.
    """

    sweep: SweepRef
    server: ServerRef
    url: str
    name: str
    method: str
    metric_name: str
    metric_goal: str
    template: Template
    parameters: Mapping[str, Any]
    expected_trials: int | None
    tags: tuple[str, ...] = ()
    is_ours: bool = True
    start: StartCommand | None = None

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the parameters that differ between trials, nested ones dotted."""
        return tuple(name for name, spec in _flat_names(self.parameters) if "value" not in spec)


def outline(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a sweep config with only the first value where several are listed."""
    return {
        name: {
            key: outline(value) if key == "parameters" else value[:1] if key == "values" else value
            for key, value in spec.items()
        }
        for name, spec in parameters.items()
    }


def _flat_names(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, spec in parameters.items():
        if "parameters" in spec:
            yield from _flat_names(spec["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", spec


@dataclass(frozen=True)
class Trial:
    """One attempt at one configuration.

    number: hydra.job.num. attempt: 0 for the first. failures: failed attempts so far that count against max_retries.
    args: W&B parameter name -> value. resumes: the run exists already.
    """

    number: int
    attempt: int
    run_id: str
    args: Mapping[str, Any] = field(default_factory=dict)
    failures: int = 0
    resumes: bool = False

    @property
    def label(self) -> str:
        """The name of the attempt in the ledger."""
        return f"{self.number:06d}.{self.attempt}"


class Ledger:
    """One process's view of a sweep's ledger.

    directory: the sweep directory. writer: name of this process's file of events, unique in the sweep. failures: the
    trials that have failed for good.
    """

    def __init__(self, directory: Path, writer: str, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._root = directory / DIRECTORY
        self.writer = writer
        self.clock = clock
        self.failures = Failures(self._root)
        self._next_number_hint = 0

    @classmethod
    def refuse_taken(cls, directory: Path) -> None:
        """Raise SweepError if the directory holds a sweep's ledger."""
        if (directory / DIRECTORY / "sweep.json").exists():
            raise SweepError(
                f"hydra.sweep.dir={directory} already holds a sweep. Choose another hydra.sweep.dir "
                f"(Hydra's default has the time in it), or go on with that sweep: hydra-sweep attach {directory}"
            )

    @classmethod
    def create(cls, directory: Path, record: SweepRecord, writer: str) -> Ledger:
        """Make the ledger of a new sweep. Errors: SweepError if the directory holds another sweep's."""
        cls.refuse_taken(directory)
        root = directory / DIRECTORY
        for name in (*_SUBDIRECTORIES, *FAILURES):
            (root / name).mkdir(parents=True, exist_ok=True)
        write_whole(root / "sweep.json", {**asdict(record), "template": record.template.to_json()})
        return cls(directory, writer)

    @classmethod
    def open(cls, directory: Path, writer: str) -> Ledger:
        """Return the ledger of a sweep that exists. Errors: SweepError if there is none in the directory."""
        if not (directory / DIRECTORY / "sweep.json").exists():
            raise SweepError(
                f"{directory} is not a sweep's directory: it has no {DIRECTORY}/sweep.json. Name the directory "
                "that the sweep's command printed (hydra.sweep.dir)."
            )
        return cls(directory.absolute(), writer)

    @property
    def root(self) -> Path:
        """Where the ledger's files are, below the sweep directory."""
        return self._root

    def sweep(self) -> SweepRecord:
        """Read what the sweep is."""
        data = self._read_record()
        # Of a grid of 10^5 values the agent would keep megabytes, which each fork of a trial has to copy.
        data["parameters"] = outline(data["parameters"])
        data["sweep"] = SweepRef(**data["sweep"])
        data["server"] = ServerRef(**data["server"])
        data["template"] = Template.from_json(data["template"])
        data["tags"] = tuple(data["tags"])
        if data.get("start") is not None:
            data["start"] = StartCommand(**{name: tuple(words) for name, words in data["start"].items()})
        return SweepRecord(**data)

    def parameters(self) -> dict[str, Any]:
        """Read the sweep's parameters with all their values, as in the sweep config."""
        parameters: dict[str, Any] = self._read_record()["parameters"]
        return parameters

    def _read_record(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self._root / "sweep.json").read_text(encoding="utf-8"))
        return data

    # --- claims ---

    def number_trial(self, run_id: str, args: Mapping[str, Any]) -> Trial:
        """Give a run that the server handed out its trial number: the lowest free one, from 0.

        For a run that has a number already (the server hands it out again) it is the next attempt at that trial.
        """
        known = self._root / "runs" / run_id
        if known.exists():
            return self._next_attempt(int(known.read_text()), run_id, args)
        names = (self._trial_path(number) for number in itertools.count(self._first_free_number()))
        mine = create_first(names, {"run_id": run_id, "args": dict(args)})
        assert mine is not None, "numbers have no end"
        number = int(mine.stem)
        self._next_number_hint = number + 1
        create_once(known, number)
        return Trial(number, 0, run_id, args)

    def knows_run(self, run_id: str) -> bool:
        """True if a run has a trial number."""
        return (self._root / "runs" / run_id).exists()

    def claimed_count(self) -> int:
        """Return how many trials have a number."""
        self._next_number_hint = self._first_free_number()
        return self._next_number_hint

    def _first_free_number(self) -> int:
        return first_free(self._is_taken, self._next_number_hint)

    def _is_taken(self, number: int) -> bool:
        return self._trial_path(number).exists()

    def _trial_path(self, number: int) -> Path:
        return self._root / "trials" / f"{number:06d}.json"

    def _next_attempt(self, number: int, run_id: str, args: Mapping[str, Any]) -> Trial:
        attempt = 0
        while (self._root / "attempts" / f"{number:06d}.{attempt}").exists():
            attempt += 1
        return Trial(number, attempt, run_id, args, resumes=attempt > 0)

    def begin(self, trial: Trial) -> bool:
        """Claim an attempt; False if another agent was faster. Exactly one caller gets True."""
        mine = create_once(self._root / "attempts" / trial.label, {"by": self.writer, "time": self.clock()})
        if mine:
            self.record("claimed", trial, args=trial.args, failures=trial.failures, resumes=trial.resumes)
        return mine

    def last_attempt_by(self, number: int) -> str | None:
        """Return who claimed a trial's last attempt, None if nobody has."""
        attempt = self._next_attempt(number, "", {}).attempt - 1
        claim = read_json(self._root / "attempts" / f"{number:06d}.{attempt}") if attempt >= 0 else None
        return str(claim["by"]) if claim is not None else None

    def is_under_way(self, trial: Trial, within_s: float) -> bool:
        """True if an attempt was claimed less than within_s ago and its process has left no result yet."""
        try:
            claimed = json.loads((self._root / "attempts" / trial.label).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        return self.clock() - claimed["time"] < within_s and read_json(self.result_path(trial)) is None

    def silent_trials(self, told: Callable[[int], int]) -> list[Trial]:
        """Return trials whose last claim no event tells of: their agent died right after it, or before it.

        told: gives the last attempt at a trial that events tell of, -1 if they tell of none. Looks at every trial:
        for when all agents are gone. Holds none but those that it returns: see EventReader.
        """
        claims = (name.partition(".") for name in self._each_name("attempts"))
        later = {int(number) for number, _, attempt in claims if int(attempt) > told(int(number))}
        numbered = ((int(name.removesuffix(".json")), name) for name in self._each_name("trials"))
        silent = []
        for number, name in sorted(pair for pair in numbered if pair[0] in later or told(pair[0]) < 0):
            data = json.loads((self._root / "trials" / name).read_text(encoding="utf-8"))
            silent.append(Trial(number, 0, data["run_id"], data["args"]))
        return silent

    def _names(self, subdirectory: str) -> list[str]:
        """Names in a subdirectory, sorted, without files that are being written."""
        return sorted(self._each_name(subdirectory))

    def _each_name(self, subdirectory: str) -> Iterator[str]:
        with os.scandir(self._root / subdirectory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name

    # --- offers ---

    def offer(self, trial: Trial, reason: str) -> None:
        """Let any agent take this attempt."""
        self.record("offered", trial, reason=reason, failures=trial.failures)
        create_once(self._root / "offers" / f"{trial.label}.json", asdict(trial))

    def offer_again(self, trial: Trial, reason: str) -> None:
        """Offer the attempt after the last one that was claimed, unless it is on offer already."""
        attempt = self._next_attempt(trial.number, trial.run_id, trial.args).attempt
        again = replace(trial, attempt=attempt, resumes=attempt > 0)
        if not (self._root / "offers" / f"{again.label}.json").exists():
            self.offer(again, reason)

    def is_known(self, trial: Trial) -> bool:
        """True if an attempt is on offer or was claimed."""
        return any(
            (self._root / place).exists() for place in (f"offers/{trial.label}.json", f"attempts/{trial.label}")
        )

    def take_offer(self) -> Trial | None:
        """Claim the offered attempt with the lowest trial number, None if there is none."""
        offers = self._root / "offers"
        for name in self._names("offers"):
            try:
                trial = Trial(**json.loads((offers / name).read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue  # another agent took it between the listing and the reading
            mine = self.begin(trial)
            (offers / name).unlink(missing_ok=True)
            if mine:
                return trial
        return None

    def has_offers(self) -> bool:
        """True if some attempt waits for an agent."""
        return bool(self._names("offers"))

    # --- results of trial processes ---

    def result_path(self, trial: Trial) -> Path:
        """Where the process of an attempt writes its result."""
        return self._root / "results" / f"{trial.label}.json"

    def has_finished(self, trial: Trial) -> bool:
        """True if the attempt before this one finished: then there is nothing left to run."""
        before = replace(trial, attempt=trial.attempt - 1)
        result = read_json(self.result_path(before)) if trial.attempt > 0 else None
        return result is not None and result["state"] == "finished"

    def job_path(self, name: str) -> Path:
        """A directory for one job's own files, outside the trials' directories."""
        path = self._root / "jobs" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def reserve_job_numbers(self, count: int) -> list[int]:
        """Return numbers for jobs that nobody else gets, consecutive unless others reserve some meanwhile."""
        number = max((int(name) for name in self._names("job_numbers")), default=-1)
        reserved: list[int] = []
        while len(reserved) < count:
            number += 1
            if create_once(self._root / "job_numbers" / str(number), 0):
                reserved.append(number)
        return reserved

    # --- events ---

    def reader(self) -> EventReader:
        """Return a reader of all that was recorded so far and will be."""
        return EventReader(self.directory)

    def record(self, event: str, trial: Trial | None = None, **details: Any) -> None:
        """Append an event; it is on disk when this returns. Errors: OSError; then there is nothing of it."""
        line: dict[str, Any] = {"event": event, "time": self.clock(), "by": self.writer}
        if trial is not None:
            line |= {"trial": trial.number, "attempt": trial.attempt, "run_id": trial.run_id}
        data = json.dumps({**line, **details}).encode() + b"\n"
        append_durably(self._root / "events" / f"{self.writer}.jsonl", data)
