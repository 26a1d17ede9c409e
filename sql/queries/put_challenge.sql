INSERT OR REPLACE INTO challenges (
    challenge_id, status, tier, difficulty_label, score_multiplier, kind, storage, cnf_sha256,
    cnf_bytes, num_vars, num_clauses, announced_time_limit_secs, solve_on_submit_enabled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
