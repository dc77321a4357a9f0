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
    config_digest TEXT NOT NULL,               -- of sweep_configs.text: tells whether that has changed
    method       TEXT NOT NULL,
    state        TEXT NOT NULL,
    seed         INTEGER NOT NULL,             -- used where the config names none
    next_trial   INTEGER NOT NULL DEFAULT 0,   -- index of the next trial of the search
    run_count    INTEGER NOT NULL DEFAULT 0,   -- runs that ever belonged to the sweep, kept by the writer
    display_name TEXT,
    description  TEXT,
    controller   TEXT,
    scheduler    TEXT,
    controller_run_name TEXT NOT NULL,
    created_at   REAL NOT NULL,
    updated_at   REAL NOT NULL,
    UNIQUE (project_id, name)
);

-- Apart from what changes with every trial: a list of trials has megabytes, and SQLite writes rows as a whole.
CREATE TABLE sweep_configs (
    sweep_id INTEGER PRIMARY KEY REFERENCES sweeps (id) ON DELETE CASCADE,
    text     TEXT NOT NULL                     -- YAML, as it was sent
);

CREATE TABLE agents (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sweep_id     INTEGER NOT NULL REFERENCES sweeps (id),
    name         TEXT NOT NULL,
    host         TEXT NOT NULL,
    label        TEXT,                         -- what whoever started it calls it; NULL: W&B's SDK has no word for that
    job          TEXT,                         -- id of the job it is in, of whatever launched it
    listed       TEXT NOT NULL DEFAULT '[]',   -- JSON list of the run names its last heartbeat called alive
    run_count    INTEGER NOT NULL DEFAULT 0,
    created_at   REAL NOT NULL,
    heartbeat_at REAL NOT NULL,
    ended_at     REAL,                         -- NULL while it works, as far as is known
    ended        TEXT                          -- finished or died
);
CREATE INDEX agents_of_sweep ON agents (sweep_id);
CREATE INDEX agents_at_work ON agents (id) WHERE ended_at IS NULL;

CREATE TABLE runs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id     INTEGER NOT NULL REFERENCES projects (id),
    name           TEXT NOT NULL,              -- the 8 characters users know as the run id
    sweep_id       INTEGER REFERENCES sweeps (id),
    agent_id       INTEGER REFERENCES agents (id),
    state          TEXT NOT NULL,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    stop_reason    TEXT,                       -- why the server itself asked it to stop
    exit_code      INTEGER,
    args           TEXT,                       -- JSON, as handed out: {"lr": {"value": 0.1}}
    queued_at      REAL,                       -- waits to be offered (again) since then
    is_retry       INTEGER NOT NULL DEFAULT 0, -- and does so because a user wants it, however it had ended
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
    steps_ascend   INTEGER NOT NULL DEFAULT 1, -- no line of history has a lower step than the one before, or NaN
    events_lines   INTEGER NOT NULL DEFAULT 0,
    log_lines      INTEGER NOT NULL DEFAULT 0,
    created_at     REAL NOT NULL,
    heartbeat_at   REAL NOT NULL,
    UNIQUE (project_id, name)
);
CREATE INDEX runs_by_creation ON runs (project_id, created_at);
CREATE INDEX runs_of_sweep ON runs (sweep_id, created_at);
CREATE INDEX runs_of_agent ON runs (agent_id, created_at);
CREATE INDEX states_of_sweep ON runs (sweep_id, state);
-- In the order in which they are offered.
CREATE INDEX queued_runs ON runs (sweep_id, (state != 'preempted'), queued_at) WHERE queued_at IS NOT NULL;
CREATE INDEX live_runs ON runs (sweep_id)
    WHERE state IN ('pending', 'running', 'preempting') AND queued_at IS NULL;
CREATE INDEX live_runs_of_agent ON runs (agent_id)
    WHERE state IN ('pending', 'running', 'preempting') AND queued_at IS NULL;

-- Who had a run when, from its hand-out to its end or loss (assignments.py). A run that goes on has several.
CREATE TABLE assignments (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    agent_id INTEGER REFERENCES agents (id),   -- NULL: a process that no agent had started
    began_at REAL NOT NULL,
    ended_at REAL,                             -- NULL while it has it
    how      TEXT                              -- it ended: a state of runs, handed over, or lost
);
CREATE INDEX assignments_of_sweep ON assignments (sweep_id);
CREATE INDEX assignments_of_run ON assignments (run_id);
CREATE INDEX assignments_of_agent ON assignments (agent_id);
CREATE UNIQUE INDEX open_assignments ON assignments (run_id) WHERE ended_at IS NULL;

-- What is left of deleted runs: ids that are not to be used again.
CREATE TABLE deleted_runs (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    sweep_id   INTEGER REFERENCES sweeps (id),
    run_id     INTEGER NOT NULL UNIQUE,        -- what its row was
    files_left INTEGER NOT NULL DEFAULT 1,     -- files are removed after rows; counts what came since
    PRIMARY KEY (project_id, name)
);
CREATE INDEX deleted_runs_of_sweep ON deleted_runs (sweep_id);
CREATE INDEX deleted_runs_with_files ON deleted_runs (files_left) WHERE files_left > 0;

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

-- Contents of files that came with a run's last words; all others are below the directory "files".
CREATE TABLE small_files (
    file_id INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    content BLOB NOT NULL
);

-- Early stopping (early_stop.py, brackets.py). A loss is a value of the sweep's metric, negated if that is maximized.
CREATE TABLE early_stop_rules (
    sweep_id INTEGER PRIMARY KEY REFERENCES sweeps (id),
    rule     TEXT NOT NULL                     -- by which the rows below were made
);

CREATE TABLE standings (
    run_id       INTEGER PRIMARY KEY REFERENCES runs (id),
    sweep_id     INTEGER NOT NULL REFERENCES sweeps (id),
    lines        INTEGER NOT NULL,             -- of its history that were taken in
    step         REAL,
    value_count  INTEGER NOT NULL,
    bracket      INTEGER NOT NULL,             -- the last one reached
    loss         REAL,                         -- what counts against the bracket's threshold
    is_contender INTEGER NOT NULL
);
CREATE INDEX standings_of_sweep ON standings (sweep_id);
CREATE INDEX contenders ON standings (sweep_id, bracket, loss) WHERE is_contender = 1;

CREATE TABLE bracket_losses (
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id),
    bracket  INTEGER NOT NULL,
    loss     REAL NOT NULL,
    run_id   INTEGER NOT NULL REFERENCES runs (id),
    PRIMARY KEY (sweep_id, bracket, loss, run_id)
) WITHOUT ROWID;
CREATE INDEX bracket_losses_of_run ON bracket_losses (run_id);

CREATE TABLE brackets (                        -- which of a bracket's losses is its threshold
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id),
    bracket  INTEGER NOT NULL,
    count    INTEGER NOT NULL,                 -- losses in the bracket
    position INTEGER NOT NULL,                 -- how many of them come before this one
    loss     REAL NOT NULL,
    run_id   INTEGER NOT NULL REFERENCES runs (id),
    PRIMARY KEY (sweep_id, bracket)
) WITHOUT ROWID;
CREATE INDEX brackets_by_run ON brackets (run_id);

-- Versions of files that runs log and use. A collection is a name with all its versions.
CREATE TABLE artifact_collections (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id   INTEGER NOT NULL REFERENCES projects (id),
    name         TEXT NOT NULL,
    type         TEXT NOT NULL,
    next_version INTEGER NOT NULL DEFAULT 0,   -- numbers of deleted versions are not used again
    created_at   REAL NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE artifacts (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id    INTEGER NOT NULL REFERENCES artifact_collections (id),
    run_id           INTEGER REFERENCES runs (id) ON DELETE SET NULL,
    client_id        TEXT UNIQUE,              -- by which a client that missed the answer finds it again
    version          INTEGER,                  -- NULL until everything has arrived
    digest           TEXT NOT NULL,
    description      TEXT,
    metadata         TEXT,
    tags             TEXT NOT NULL DEFAULT '[]',
    wanted_aliases   TEXT NOT NULL DEFAULT '[]',
    history_step     INTEGER,
    manifest_blob_id INTEGER REFERENCES blobs (id),
    size_bytes       INTEGER NOT NULL DEFAULT 0,
    file_count       INTEGER NOT NULL DEFAULT 0,
    created_at       REAL NOT NULL,
    updated_at       REAL NOT NULL,
    UNIQUE (collection_id, version)
);
CREATE INDEX artifacts_of_run ON artifacts (run_id);
CREATE INDEX artifacts_of_manifest ON artifacts (manifest_blob_id);
CREATE INDEX drafts ON artifacts (updated_at) WHERE version IS NULL;

CREATE TABLE artifact_aliases (
    collection_id INTEGER NOT NULL REFERENCES artifact_collections (id),
    alias         TEXT NOT NULL,
    artifact_id   INTEGER NOT NULL REFERENCES artifacts (id),
    PRIMARY KEY (collection_id, alias)
) WITHOUT ROWID;
CREATE INDEX aliases_of_artifact ON artifact_aliases (artifact_id);

CREATE TABLE artifact_files (
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id),
    name        TEXT NOT NULL,
    blob_id     INTEGER REFERENCES blobs (id), -- its content, or else
    reference   TEXT,                          -- the URI of something elsewhere
    size_bytes  INTEGER NOT NULL DEFAULT 0,    -- as its manifest says
    PRIMARY KEY (artifact_id, name)
) WITHOUT ROWID;
CREATE INDEX artifact_files_of_blob ON artifact_files (blob_id);

CREATE TABLE artifacts_of_runs (
    run_id      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id),
    is_output   INTEGER NOT NULL,
    PRIMARY KEY (run_id, artifact_id, is_output)
) WITHOUT ROWID;
CREATE INDEX runs_of_artifact ON artifacts_of_runs (artifact_id);

-- Contents, each kept once.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    md5        TEXT NOT NULL,                  -- 32 hexadecimal digits
    token      TEXT NOT NULL UNIQUE,           -- the only thing an upload has to show
    size_bytes INTEGER,                        -- NULL until it was uploaded
    is_garbage INTEGER NOT NULL DEFAULT 0      -- nothing refers to it, its file is to be removed
);
CREATE UNIQUE INDEX wanted_blobs ON blobs (md5) WHERE NOT is_garbage;
CREATE INDEX garbage ON blobs (is_garbage) WHERE is_garbage;
