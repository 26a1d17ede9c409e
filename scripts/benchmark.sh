#!/usr/bin/env bash
# The publisher beside nginx and Varnish, as far as they are installed, in one run on this machine.
#
#   scripts/benchmark.sh [ROUNDS [SECONDS]]     3 rounds of 2 seconds a case
#
# scripts/herd/examples/benchmark.rs describes the measurements and their settings; scripts/benchmark.txt
# is the output of one run.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --quiet -p herd --example benchmark -- "$@"
