#!/usr/bin/env bash
# Kills the server at random moments while 64 clients write, beside backups, restores, deletions and other processes;
# lets the disk fail, fill and hang; pauses processes and moves the clock. Fails if anything that was acknowledged is
# lost, anything is served that is not stored, a database is damaged, or a server does not recover.
#
#   scripts/chaos.sh [ROUNDS] [--writers 64] [--step 1] [--only NAME] [--seed NUMBER]     1000 rounds
#
# In every round three clients follow since_seq at servers that they choose at random, and must get every eval run
# exactly once. Of them alone: scripts/chaos.sh 1000 --step 0 --only "two servers and an import"
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked --quiet -p herd --example chaos -- "$@"
