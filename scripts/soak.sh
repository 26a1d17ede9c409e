#!/usr/bin/env bash
# A bounded long run: miners, validators, writers, slow clients, a restart and a kill -9 in the middle.
# Fails on growth (memory, file descriptors, write-ahead log, rebuilds) and on loss.
#
#   scripts/soak.sh [SECONDS]     600
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet --bin cathedral-publisher --example soak
exec target/release/examples/soak "$@"
