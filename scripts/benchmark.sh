#!/usr/bin/env bash
# The publisher beside nginx and Varnish, as far as they are installed, in one run on this machine.
#
#   scripts/benchmark.sh [ROUNDS [SECONDS]]     3 rounds of 2 seconds a case
#
# What is measured, and with which settings, is in scripts/benchmark.rs; scripts/benchmark.txt is one
# run of it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet --bin cathedral-publisher --example benchmark --example slow_build --example limit
exec target/release/examples/benchmark "$@"
