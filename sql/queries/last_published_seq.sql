SELECT max(seq)
FROM eval_runs INDEXED BY eval_runs_published
WHERE schema_version >= 5
