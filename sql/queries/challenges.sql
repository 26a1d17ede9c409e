-- ?2 is the status, or NULL for all of them.
SELECT challenge_id, status, tier, difficulty_label, score_multiplier, kind, storage, cnf_sha256,
       cnf_bytes, num_vars, num_clauses, announced_time_limit_secs, solve_on_submit_enabled
FROM challenges
WHERE challenge_id > ?1 AND (?2 IS NULL OR status = ?2)
ORDER BY challenge_id
LIMIT ?3
