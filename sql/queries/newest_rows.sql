SELECT ran_at, id, body
FROM eval_runs
WHERE schema_version >= 5
ORDER BY ran_at DESC, id DESC
