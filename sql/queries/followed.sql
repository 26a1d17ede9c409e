-- Only databases of followers have this table: it is not in the migrations.
CREATE TABLE IF NOT EXISTS followed (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    upstream TEXT    NOT NULL,
    -- The id of the lineage of the upstream that the numbers of the eval runs belong to. NULL if they are given here. If
    -- the database is of another lineage, somebody else has written to it.
    lineage  TEXT
) STRICT;
-- What the upstream was copied of whole at least once: before that it is not served.
CREATE TABLE IF NOT EXISTS copied (
    part TEXT NOT NULL PRIMARY KEY CHECK (part IN ('board', 'feed'))
) STRICT;
-- Where the upstream was with the board that is stored: an older board does not take its place. No row if it is not known.
CREATE TABLE IF NOT EXISTS followed_board (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    position TEXT    NOT NULL
) STRICT;
-- The process that follows with the database: it alone copies into it. No row if none has since this table was made.
CREATE TABLE IF NOT EXISTS follower (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    token    INTEGER NOT NULL
) STRICT
