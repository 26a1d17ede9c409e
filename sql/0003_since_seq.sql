-- Expands the schema, as 0002 does: every statement of the release before still works.

-- The feed in the order of commits: a page is one range scan of this index, so that eval runs which are not published
-- cost it nothing. A scan of the table instead took 140 ms behind 400,000 of them, and takes 0.3 ms with the index.
CREATE INDEX eval_runs_published ON eval_runs (seq) WHERE schema_version >= 5;

-- A restore keeps the lineages of the database that it replaces: of those that the backup does not continue, this is
-- the greatest `seq` up to which both have the same eval runs. NULL if the database continues the lineage.
ALTER TABLE lineages ADD COLUMN shared_through INTEGER;

-- A lineage begins with a restore (1), or with the first write of a process (0): nobody can tell what was done to the
-- file while no process had it open. If it was nothing, the lineage continues the one before.
ALTER TABLE lineages ADD COLUMN is_restore INTEGER NOT NULL DEFAULT 1;

-- Cursors contain the ordinal, and one that is greater than all that the database knows means that it is behind. So a
-- new database, which may take the place of another one, does not begin with 1: from now on ordinals are the time of
-- their beginning, in seconds. A database that has had eval runs keeps its own, as its backups do.
UPDATE lineages SET ordinal = max(ordinal, min(unixepoch(), 4000000000))
WHERE ordinal = (SELECT max(ordinal) FROM lineages)
  AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'eval_runs' AND seq > 0);
