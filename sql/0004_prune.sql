-- Expands the schema, as 0002 does: every statement of the release before still works.

-- What `prune` has removed, if anything: eval runs that ran before `before`, none of which had a greater `seq` than
-- `through_seq`.
CREATE TABLE pruned (
    only_row    INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    before      TEXT    NOT NULL,
    through_seq INTEGER NOT NULL
) STRICT;

-- So that `prune` finds the eval runs that are not published. The index of the feed has the others.
CREATE INDEX eval_runs_unpublished ON eval_runs (ran_at, id) WHERE schema_version < 5;
