-- Expands the schema: every statement of the release before still works, so that its process may go on while
-- that of the next release starts.

-- Which history the database tells: a random name, new after each restore. The last one is current. Its eval runs
-- have a `seq` from `first_seq` on; smaller ones belong to the lineages before.
CREATE TABLE lineages (
    ordinal   INTEGER PRIMARY KEY,
    id        TEXT    NOT NULL UNIQUE CHECK (length(id) = 16),
    first_seq INTEGER NOT NULL
) STRICT;
INSERT INTO lineages (id, first_seq) VALUES (lower(hex(randomblob(8))), 1);

-- Every change draws a new `change_id`: two states with equal ids are equal, even if one of them was restored
-- and the counts agree.
--
-- `file_mark` names the file in which the database was last opened for writing: if another file has its name, that was
-- put there since. It stands in the rows that every change writes, so that a write-ahead log names its database too. It
-- is the last column, and these tables have one row each: the program reads it from the pages of the log.
ALTER TABLE board_version ADD COLUMN change_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE board_version ADD COLUMN file_mark TEXT;
UPDATE board_version SET change_id = random();
DROP TRIGGER challenges_inserted;
DROP TRIGGER challenges_updated;
DROP TRIGGER challenges_deleted;
CREATE TRIGGER challenges_inserted AFTER INSERT ON challenges BEGIN
    UPDATE board_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER challenges_updated AFTER UPDATE ON challenges BEGIN
    UPDATE board_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER challenges_deleted AFTER DELETE ON challenges BEGIN
    UPDATE board_version SET version = version + 1, change_id = random();
END;

-- JSON has no infinity: with one, the board could not be written.
CREATE TRIGGER challenges_multiplier_inserted BEFORE INSERT ON challenges
WHEN abs(NEW.score_multiplier) > 1.7976931348623157e308 BEGIN
    SELECT raise(ABORT, 'score_multiplier must be finite');
END;
CREATE TRIGGER challenges_multiplier_updated BEFORE UPDATE ON challenges
WHEN abs(NEW.score_multiplier) > 1.7976931348623157e308 BEGIN
    SELECT raise(ABORT, 'score_multiplier must be finite');
END;

-- `seq` is the order of insertion, and is never used again, unlike a rowid. Eval runs keep the rowid that they
-- had.
CREATE TABLE eval_runs_with_seq (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND 256),
    ran_at         TEXT    NOT NULL CHECK (ran_at IS strftime('%Y-%m-%dT%H:%M:%fZ', ran_at)),
    schema_version INTEGER NOT NULL,
    body           TEXT    NOT NULL   -- the JSON of the eval run, byte for byte as received
) STRICT;
INSERT INTO eval_runs_with_seq (seq, id, ran_at, schema_version, body)
    SELECT rowid, id, ran_at, schema_version, body FROM eval_runs ORDER BY rowid;
DROP TABLE eval_runs;
ALTER TABLE eval_runs_with_seq RENAME TO eval_runs;
-- After the rows: an index that is built at once is sorted, and written once.
CREATE UNIQUE INDEX eval_runs_id ON eval_runs (id);
CREATE INDEX eval_runs_feed ON eval_runs (ran_at, id) WHERE schema_version >= 5;

-- Counts the changes of `eval_runs` and `merkle_epochs` by any program.
CREATE TABLE feed_version (
    only_row  INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version   INTEGER NOT NULL,
    change_id INTEGER NOT NULL,
    file_mark TEXT
) STRICT;
INSERT INTO feed_version VALUES (1, 0, random(), NULL);
CREATE TRIGGER eval_runs_inserted AFTER INSERT ON eval_runs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER eval_runs_updated AFTER UPDATE ON eval_runs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER eval_runs_deleted AFTER DELETE ON eval_runs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER merkle_epochs_inserted AFTER INSERT ON merkle_epochs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER merkle_epochs_updated AFTER UPDATE ON merkle_epochs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
CREATE TRIGGER merkle_epochs_deleted AFTER DELETE ON merkle_epochs BEGIN
    UPDATE feed_version SET version = version + 1, change_id = random();
END;
