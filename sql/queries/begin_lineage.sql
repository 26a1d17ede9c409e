-- The ordinal is the time, so that it is greater than those of databases that are not known here; see 0003. If one of
-- them is known, ?1 is greater than its own.
INSERT INTO lineages (ordinal, id, first_seq)
SELECT max((SELECT 1 + max(ordinal) FROM lineages), ?1, min(unixepoch(), 4000000000)),
       lower(hex(randomblob(8))), 1 + coalesce(max(seq), 0)
FROM sqlite_sequence
WHERE name = 'eval_runs'
