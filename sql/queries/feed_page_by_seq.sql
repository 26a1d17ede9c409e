SELECT seq, body
FROM eval_runs INDEXED BY eval_runs_published
WHERE seq > ?1 AND schema_version >= 5
ORDER BY seq
LIMIT ?2
