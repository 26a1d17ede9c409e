SELECT ran_at, id, body
FROM eval_runs
WHERE rowid > ?1 AND schema_version >= 5
