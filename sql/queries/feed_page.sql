-- ?2 is the id up to which rows of that millisecond have been seen, and ?4 the last time to show; an empty BLOB, which
-- SQLite orders after every TEXT, stands for "all of them".
SELECT ran_at, id, body
FROM eval_runs
WHERE (ran_at, id) > (?1, ?2) AND ran_at <= ?4 AND schema_version >= 5
ORDER BY ran_at, id
LIMIT ?3
