SELECT challenge_id, status, tier, difficulty_label, score_multiplier, kind, storage, cnf_sha256,
       cnf_bytes, num_vars, num_clauses, announced_time_limit_secs, solve_on_submit_enabled
FROM challenges
ORDER BY challenge_id
