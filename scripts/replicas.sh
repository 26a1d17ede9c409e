#!/usr/bin/env bash
# Several publishers of one PostgreSQL database: publishers, PostgreSQL and the network are killed, stopped and cut off,
# standbys are promoted, under clients that write and pull. Prints a table of what was promised and what was found, and
# exits with 1 if anything falls short. Needs initdb (Debian: postgresql); some rows need nginx, or root.
#
#   scripts/replicas.sh [FILTER]     all rows; those of one file: scripts/replicas.sh failover
#
# `cargo test --test postgres replicas` runs the same in a short version.
set -euo pipefail
cd "$(dirname "$0")/.."

table=$(mktemp)
trap 'rm -f "$table"' EXIT
echo "on $(nproc) cores, $(date -u +%F), PostgreSQL $(ls /usr/lib/postgresql 2>/dev/null | tail -n 1)"
status=0
REPLICAS_FULL=1 REPLICAS_TABLE=$table cargo test --release --locked --quiet --test postgres -- \
    "replicas::${1:-}" --test-threads 1 || status=$?
printf '\n'
sort -s -t "$(printf '\t')" -k 1,1V "$table" |
    awk -F '\t' '{ printf "%-4s  %-11s  %s\n%-19s%s\n", $1, $4, $2, "", $3 }'
exit "$status"
