SELECT ran_at, id, schema_version >= 5
FROM eval_runs
WHERE seq > ?1
ORDER BY seq
LIMIT ?2
