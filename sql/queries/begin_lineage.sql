INSERT INTO lineages (id, first_seq)
SELECT lower(hex(randomblob(8))), 1 + coalesce(max(seq), 0)
FROM sqlite_sequence
WHERE name = 'eval_runs'
