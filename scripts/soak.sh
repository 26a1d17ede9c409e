#!/usr/bin/env bash
# A long run with miners, validators, writers and slow clients, a restart and a kill -9. Fails if memory, file
# descriptors, the write-ahead log or the number of rebuilds grow, or if an acknowledged row is lost.
#
#   scripts/soak.sh [SECONDS]     600
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked --quiet -p herd --example soak -- "$@"
