-- Both databases understand it. What was pruned once stays pruned.
INSERT INTO pruned (only_row, before, through_seq) VALUES (1, $1, $2)
ON CONFLICT (only_row) DO UPDATE SET
    before = CASE WHEN pruned.before > excluded.before THEN pruned.before ELSE excluded.before END,
    through_seq = CASE WHEN pruned.through_seq > excluded.through_seq THEN pruned.through_seq ELSE excluded.through_seq END
