#!/usr/bin/env bash
# The cures of a collapse, each alone: see scripts/herd/examples/cures. Takes five and a half minutes after the build.
#
#   scripts/cures.sh [OUT [ROUNDS]]     target/cures 3
#
# 120 clients poll a server that rebuilds its answer for each request: 60 polls per second, a third of what it can do.
# The board changes, and a moment later all clients ask for it at once. Without a cure the server never answers
# again, although the load is what it was before. Each run has one cure, at the server or at the clients. Then the load
# rises slowly and falls again: the collapse begins at one load and ends at a much lower one.
#
# Prints the medians of all rounds and writes cures.svg, hysteresis.svg, and a report of herd for each cure beside the run
# without one, to OUT. Fails if the result of a cure contradicts scripts/herd/README.md: a collapse that should end and does
# not, or the reverse. A rebuild waits for 5 ms instead of computing, so that the figures depend little on the machine. On a
# machine that does other work as well, use `chrt --rr 1 scripts/cures.sh` after a build.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked --quiet -p herd --example cures -- "$@"
