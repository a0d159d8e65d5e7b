-- Layout 1. Later layouts are migrations in migrations.py.
-- Ids that clients see are AUTOINCREMENT, so that the id of a deleted row is never given to another one.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    description TEXT,
    created_at TEXT NOT NULL
);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users,
    name TEXT NOT NULL,
    description TEXT,
    access TEXT NOT NULL,
    allow_all_types INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (user_id, name)
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT,
    notes TEXT,
    config TEXT NOT NULL DEFAULT '{}',
    summary TEXT NOT NULL DEFAULT '{}',
    tags TEXT NOT NULL DEFAULT '[]',
    group_name TEXT,
    job_type TEXT,
    host TEXT,
    program TEXT,
    repo TEXT,
    commit_hash TEXT,
    sweep_name TEXT,
    state TEXT NOT NULL,
    exit_code INTEGER,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    UNIQUE (project_id, name)
);
CREATE TABLE run_lines (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    stream TEXT NOT NULL,
    line INTEGER NOT NULL,
    step INTEGER,
    content TEXT NOT NULL,
    PRIMARY KEY (run_id, stream, line)
) WITHOUT ROWID;
CREATE INDEX run_lines_by_step ON run_lines (run_id, stream, step);
CREATE TABLE run_files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    mimetype TEXT,
    updated_at TEXT NOT NULL,
    UNIQUE (run_id, name)
);
CREATE INDEX run_files_by_blob ON run_files (blob);
CREATE TABLE artifact_types (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT,
    created_at TEXT NOT NULL,
    UNIQUE (project_id, name)
);
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    type_id INTEGER NOT NULL REFERENCES artifact_types,
    kind TEXT NOT NULL CHECK (kind IN ('SEQUENCE', 'PORTFOLIO')),
    name TEXT NOT NULL,
    description TEXT,
    state TEXT NOT NULL DEFAULT 'READY',
    next_version INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX collections_by_name ON collections (project_id, name) WHERE state = 'READY';
CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'COMMITTED', 'DELETED')),
    digest TEXT NOT NULL,
    digest_algorithm TEXT NOT NULL,
    description TEXT,
    metadata TEXT,
    size INTEGER NOT NULL DEFAULT 0,
    file_count INTEGER NOT NULL DEFAULT 0,
    history_step INTEGER,
    ttl_seconds INTEGER,
    run_id INTEGER REFERENCES runs ON DELETE SET NULL,
    user_id INTEGER NOT NULL REFERENCES users,
    distributed_id TEXT,
    commit_hash TEXT NOT NULL,
    wanted_aliases TEXT NOT NULL DEFAULT '[]',
    manifest_blob TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX artifacts_by_digest ON artifacts (collection_id, digest);
CREATE INDEX artifacts_by_distributed_id ON artifacts (distributed_id) WHERE distributed_id IS NOT NULL;
CREATE INDEX artifacts_by_run ON artifacts (run_id);
CREATE INDEX artifacts_by_state ON artifacts (state, updated_at);
CREATE INDEX artifacts_by_manifest ON artifacts (manifest_blob);
CREATE TABLE client_ids (
    client_id TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    PRIMARY KEY (client_id, user_id)
) WITHOUT ROWID;
CREATE INDEX client_ids_by_artifact ON client_ids (artifact_id);
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    base_artifact_id INTEGER,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    blob TEXT
);
CREATE INDEX manifests_by_artifact ON manifests (artifact_id);
CREATE INDEX manifests_by_blob ON manifests (blob);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id INTEGER NOT NULL REFERENCES artifacts,
    collection_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    md5 TEXT NOT NULL,
    blob TEXT,
    size INTEGER,
    UNIQUE (artifact_id, digest)
);
CREATE INDEX objects_by_digest ON objects (collection_id, digest);
CREATE INDEX objects_by_blob ON objects (blob);
CREATE TABLE parts (
    object_id INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
    number INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    blob TEXT,
    size INTEGER,
    PRIMARY KEY (object_id, number)
) WITHOUT ROWID;
CREATE INDEX parts_by_blob ON parts (blob);
CREATE TABLE claims (
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    object_id INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
    PRIMARY KEY (artifact_id, object_id)
) WITHOUT ROWID;
CREATE INDEX claims_by_object ON claims (object_id);
CREATE TABLE entries (
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    object_id INTEGER REFERENCES objects,
    ref TEXT,
    PRIMARY KEY (artifact_id, path)
) WITHOUT ROWID;
CREATE INDEX entries_by_object ON entries (object_id);
CREATE TABLE memberships (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    version_index INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (collection_id, version_index),
    UNIQUE (collection_id, artifact_id)
);
CREATE INDEX memberships_by_artifact ON memberships (artifact_id);
CREATE TABLE aliases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    membership_id INTEGER NOT NULL REFERENCES memberships ON DELETE CASCADE,
    alias TEXT NOT NULL,
    UNIQUE (collection_id, alias)
);
CREATE INDEX aliases_by_membership ON aliases (membership_id);
CREATE TABLE artifact_tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    name TEXT NOT NULL,
    UNIQUE (artifact_id, name)
);
CREATE TABLE collection_tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    name TEXT NOT NULL,
    UNIQUE (collection_id, name)
);
CREATE TABLE run_outputs (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    PRIMARY KEY (run_id, artifact_id)
) WITHOUT ROWID;
CREATE INDEX run_outputs_by_artifact ON run_outputs (artifact_id);
CREATE TABLE run_inputs (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    PRIMARY KEY (run_id, artifact_id)
) WITHOUT ROWID;
CREATE INDEX run_inputs_by_artifact ON run_inputs (artifact_id);
