-- Cursors of earlier lineages than the last ?1 are those of another database from now on.
DELETE FROM lineages
WHERE ordinal < (
    SELECT ordinal FROM lineages WHERE shared_through IS NULL ORDER BY ordinal DESC LIMIT 1 OFFSET ?1 - 1
)
