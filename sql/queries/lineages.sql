SELECT ordinal, id, first_seq, shared_through, is_restore FROM lineages
