#!/usr/bin/env bash
# Compares the publisher with nginx and Varnish on this machine. A program that is not installed is left out.
#
#   scripts/benchmark.sh [ROUNDS [SECONDS]]     3 rounds of 2 seconds per case
#
# scripts/herd/examples/benchmark.rs describes the measurements and their settings; scripts/benchmark.txt
# is the output of one run.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked --quiet -p herd --example benchmark -- "$@"
