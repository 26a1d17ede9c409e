#!/usr/bin/env bash
# A bounded long run: miners, validators, writers, slow clients, a restart and a kill -9 in the middle.
# Fails on growth (memory, file descriptors, write-ahead log, rebuilds) and on loss.
#
#   scripts/soak.sh [SECONDS]     600
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --quiet -p herd --example soak -- "$@"
