-- Append-only: a migration that has been released is never changed. The next one is 0002_….sql.

CREATE TABLE challenges (
    challenge_id              TEXT    NOT NULL PRIMARY KEY,
    status                    TEXT    NOT NULL CHECK (status IN ('pending', 'active', 'locked', 'retired')),
    tier                      INTEGER NOT NULL CHECK (tier >= 0),
    difficulty_label          TEXT,
    score_multiplier          REAL    NOT NULL,
    kind                      TEXT,
    storage                   TEXT    NOT NULL CHECK (storage IN ('file', 'sqlite_text')),
    cnf_sha256                TEXT    NOT NULL CHECK (length(cnf_sha256) = 64),
    cnf_bytes                 INTEGER CHECK (cnf_bytes >= 0),
    num_vars                  INTEGER NOT NULL CHECK (num_vars >= 0),
    num_clauses               INTEGER NOT NULL CHECK (num_clauses >= 0),
    announced_time_limit_secs INTEGER CHECK (announced_time_limit_secs >= 0),
    solve_on_submit_enabled   INTEGER NOT NULL CHECK (solve_on_submit_enabled IN (0, 1))
) STRICT;

-- The board in the order of publication. A partial index: other challenges do not slow down its scan.
CREATE INDEX challenges_board ON challenges (tier, challenge_id) WHERE status = 'active';

-- Counts the changes of `challenges` by any program. Polls use it to tell changes of the board from changes of
-- the feed.
CREATE TABLE board_version (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version  INTEGER NOT NULL
) STRICT;
INSERT INTO board_version VALUES (1, 0);
CREATE TRIGGER challenges_inserted AFTER INSERT ON challenges BEGIN
    UPDATE board_version SET version = version + 1;
END;
CREATE TRIGGER challenges_updated AFTER UPDATE ON challenges BEGIN
    UPDATE board_version SET version = version + 1;
END;
CREATE TRIGGER challenges_deleted AFTER DELETE ON challenges BEGIN
    UPDATE board_version SET version = version + 1;
END;

CREATE TABLE eval_runs (
    id             TEXT    NOT NULL PRIMARY KEY,
    ran_at         TEXT    NOT NULL,  -- 2026-06-07T00:00:01.766Z: text order is time order
    schema_version INTEGER NOT NULL,
    body           TEXT    NOT NULL   -- the JSON of the eval run, byte for byte as received
) STRICT;

-- The feed: a page is one range scan of this index, starting at the cursor.
CREATE INDEX eval_runs_feed ON eval_runs (ran_at, id) WHERE schema_version >= 5;

CREATE TABLE merkle_epochs (
    epoch INTEGER NOT NULL PRIMARY KEY CHECK (epoch >= 0),
    body  TEXT                       -- NULL if only the number of the epoch is known
) STRICT;
