#!/usr/bin/env bash
# Measures what waiting for a change costs and saves: see scripts/herd/examples/waiting. Takes 11 minutes.
#
#   scripts/waiting.sh          OUT=scripts/waiting.txt
#   scripts/waiting.sh short    fewer clients and shorter runs: six minutes, to target/waiting.txt
#
# Needs 20,000 file descriptors (`ulimit -Hn`), and nginx for a part of it. Where it may, it uses a network of its own,
# so that nobody else's bytes are counted. On a machine that does other work as well, `chrt --rr 1 scripts/waiting.sh`
# measures as if it did not; build first. Fails if a number falls short of its goal.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = short ]; then
    out=${OUT:-target/waiting.txt}
    scenarios=("waiters 2000" "stop 1000" "vanish 2000" "quiet 30" "hour 60")
else
    out=${OUT:-scripts/waiting.txt}
    scenarios=("waiters 10000" "stop 5000" "vanish 10000" "quiet 60" "hour 90")
fi
# Each program alone, so that the server has only the features of its own dependencies.
cargo build --release --locked --quiet
cargo build --release --locked --quiet -p herd --bin herd
cargo build --release --locked --quiet -p herd --example waiting
waiting=${CARGO_TARGET_DIR:-$PWD/target}/release/examples/waiting

own_network=()
if unshare -n true 2>/dev/null && command -v ip >/dev/null; then
    own_network=(unshare -n sh -c 'ip link set lo up && exec "$@"' sh)
else
    echo "waiting: without a network of its own: the bytes on the wire include those of other programs" >&2
fi
failed=()
{
    echo "scripts/waiting.sh $*, $(date -u +%F), $(git describe --always --dirty 2>/dev/null || echo 'no git')"
    echo "load average before: $(cut -d ' ' -f 1-3 /proc/loadavg); $(chrt -p $$ 2>/dev/null | sed -n '1s/^.*current //p')"
    echo
    for scenario in "${scenarios[@]}"; do
        # shellcheck disable=SC2086
        "${own_network[@]}" "$waiting" $scenario || failed+=("$scenario")
        echo
    done
    [ ${#failed[@]} = 0 ] || echo "FAILED: ${failed[*]}"
} | tee "$out.new"
mv "$out.new" "$out"
! grep -q '^FAILED' "$out"
