-- One process owns this file (see lock.py). Times are seconds since the epoch (REAL).
-- Ids are never reused, since they travel in answers.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE projects (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    entity     TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (entity, name)
);

CREATE TABLE sweeps (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id   INTEGER NOT NULL REFERENCES projects (id),
    name         TEXT NOT NULL,                -- the 8 characters users know as the sweep id
    config       TEXT NOT NULL,                -- YAML, as it was sent
    method       TEXT NOT NULL,
    state        TEXT NOT NULL,
    seed         INTEGER NOT NULL,             -- used where the config names none
    next_trial   INTEGER NOT NULL DEFAULT 0,   -- index of the next trial of the search
    run_count    INTEGER NOT NULL DEFAULT 0,   -- runs that belong to the sweep, kept by the writer
    display_name TEXT,
    description  TEXT,
    controller   TEXT,
    scheduler    TEXT,
    controller_run_name TEXT NOT NULL,
    created_at   REAL NOT NULL,
    updated_at   REAL NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE agents (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sweep_id     INTEGER NOT NULL REFERENCES sweeps (id),
    name         TEXT NOT NULL,
    host         TEXT NOT NULL,
    listed       TEXT NOT NULL DEFAULT '[]',   -- JSON list of the run names its last heartbeat called alive
    run_count    INTEGER NOT NULL DEFAULT 0,
    created_at   REAL NOT NULL,
    heartbeat_at REAL NOT NULL
);
CREATE INDEX agents_of_sweep ON agents (sweep_id);

CREATE TABLE runs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id     INTEGER NOT NULL REFERENCES projects (id),
    name           TEXT NOT NULL,              -- the 8 characters users know as the run id
    sweep_id       INTEGER REFERENCES sweeps (id),
    agent_id       INTEGER REFERENCES agents (id),
    state          TEXT NOT NULL,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    exit_code      INTEGER,
    args           TEXT,                       -- JSON, as handed out: {"lr": {"value": 0.1}}
    queued_at      REAL,                       -- waits to be offered (again) since then
    offered_at     REAL,                       -- last handed to an agent then
    losses         INTEGER NOT NULL DEFAULT 0, -- times the run was lost and offered again
    preempted_by   TEXT,                       -- digest of the post with which its process was last preempted
    display_name   TEXT,
    description    TEXT,
    notes          TEXT,
    group_name     TEXT,
    job_type       TEXT,
    host           TEXT,
    program        TEXT,
    repo           TEXT,
    commit_hash    TEXT,
    tags           TEXT NOT NULL DEFAULT '[]',
    config         TEXT NOT NULL DEFAULT '{}', -- strict JSON; NaN and infinities are the strings W&B uses
    summary        TEXT NOT NULL DEFAULT '{}',
    history_lines  INTEGER NOT NULL DEFAULT 0,
    events_lines   INTEGER NOT NULL DEFAULT 0,
    log_lines      INTEGER NOT NULL DEFAULT 0,
    created_at     REAL NOT NULL,
    heartbeat_at   REAL NOT NULL,
    UNIQUE (project_id, name)
);
CREATE INDEX runs_of_sweep ON runs (sweep_id, state);
CREATE INDEX runs_by_creation ON runs (project_id, created_at);
CREATE INDEX queued_runs ON runs (sweep_id, queued_at) WHERE queued_at IS NOT NULL;
CREATE INDEX live_runs ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
CREATE INDEX live_runs_of_agent ON runs (agent_id) WHERE state IN ('pending', 'running', 'preempting');

CREATE TABLE stream_lines (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    stream TEXT NOT NULL,                      -- history, events or log
    line   INTEGER NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (run_id, stream, line)
) WITHOUT ROWID;

CREATE TABLE files (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     INTEGER NOT NULL REFERENCES runs (id),
    name       TEXT NOT NULL,
    token      TEXT NOT NULL UNIQUE,           -- the only thing an upload has to show
    size_bytes INTEGER,                        -- NULL until something was uploaded
    updated_at REAL NOT NULL,
    UNIQUE (run_id, name)
);
