-- The ordinal is the time, so that it is greater than those of databases that are not known here; see 0003. If one of
-- them is known, ?1 is greater than its own. ?2 is `is_restore`.
INSERT INTO lineages (ordinal, id, first_seq, is_restore)
SELECT max((SELECT 1 + max(ordinal) FROM lineages), ?1, min(unixepoch(), 4000000000)),
       lower(hex(randomblob(8))), 1 + coalesce(max(seq), 0), ?2
FROM sqlite_sequence
WHERE name = 'eval_runs'
