#!/usr/bin/env bash
# The thundering herd: loads two servers with the same clients and the same data, one after the other.
#
#   scripts/thundering_herd.sh          CLIENTS=600 OUT=target/thundering_herd
#
# before: the example `before` of scripts/herd, a server like the one that the publisher replaces: every request
#         rebuilds the board from SQLite, in rollback-journal mode, over one connection shared with writes.
# after:  `serve` with its defaults.
#
# The board has 5,000 challenges, a hundred times as many as the live one, so that one rebuild takes about 10 ms of
# processor time. A rebuild took the replaced service longer than that. 600 clients poll every 15 s: 40 polls
# per second, a fifth of what the machine can rebuild. At second 18 all clients send one more poll at the same
# moment, as after a restart. A client waits one second for its answer and then retries at once. In both runs
# ten validators walk the feed and four writers post 100 eval runs per second each.
#
# Writes before.json, after.json, report.html and report.svg to OUT. Fails if "after" has a timeout, a failed
# request, a 5xx, or more than one rebuild for the one expiry.
set -euo pipefail
cd "$(dirname "$0")/.."

clients=${CLIENTS:-600}
out=${OUT:-target/thundering_herd}
seconds=45 # the board expires once, after 30 s

# Two builds, so that the server has only the features of its own dependencies.
cargo build --release --locked --quiet
cargo build --release --locked --quiet -p herd --bin herd --example before
publisher=target/release/cathedral-publisher
herd=target/release/herd
mkdir -p "$out"
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT

PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN

echo "creating the data: 5,000 challenges, 20,000 eval runs"
export PUBLISHER_LOG=warn
"$publisher" sample board --count 5000 | "$publisher" import board - --database "$work/data.db" >/dev/null
"$publisher" sample rows --count 20000 | "$publisher" import rows - --database "$work/data.db" >/dev/null

run() { # NAME [HERD-OPTION]
    local name=$1 strict=${2:-} url= status=0
    cp "$work/data.db" "$work/$name.db"
    if [ "$name" = before ]; then
        target/release/examples/before "$work/$name.db" >"$work/$name.log" 2>&1 &
    else
        "$publisher" serve --database "$work/$name.db" --address 127.0.0.1:0 --log-level info 2>"$work/$name.log" &
    fi
    server=$!
    for _ in $(seq 200); do
        # `serve` logs "... on http://ADDRESS", `before` prints the address alone.
        url=$(sed -nE 's#^(.* on http://)?(127\.0\.0\.1:[0-9]+)$#http://\2#p' "$work/$name.log" | head -1)
        [ -n "$url" ] && break
        kill -0 "$server" || { cat "$work/$name.log" >&2; exit 1; }
        sleep 0.05
    done
    [ -n "$url" ] || { echo "thundering_herd: $name does not listen" >&2; exit 1; }
    echo "$name: $seconds s"
    "$herd" "$url/v1/synthetic-boolean/active-challenges" --name "$name" --json $strict \
        --clients "$clients" --interval-ms 15000 --arrival loop --burst-at 18 --duration-secs "$seconds" \
        --timeout-ms 1000 --on-failure retry --max-connections 4096 \
        --validators 10 --feed-url "$url/v1/leaderboard/recent" --feed-interval-ms 5000 --feed-since 2026-06-07T03:00:00Z \
        --writers 4 --write-url "$url/v1/admin/eval-runs" \
        --metrics-url "$url/metrics" --server-pid "$server" >"$out/$name.json" || status=$?
    stop
    rm -f "$work/$name.db"*
    return "$status"
}

run before
clean=yes
run after --strict || clean=no

"$herd" compare "$out/before.json" "$out/after.json" --report "$out/report.html" --report "$out/report.svg"
echo "report: $out/report.html, .svg"

rebuilds=$(sed -n 's/.*"rebuilds":{"total":\([0-9]*\).*/\1/p' "$out/after.json")
if [ "$clean" != yes ]; then
    echo "thundering_herd: failed: requests to the publisher failed, see the table" >&2
    exit 1
elif [ "$rebuilds" != 1 ]; then
    echo "thundering_herd: failed: ${rebuilds:-unknown} rebuilds for one expiry" >&2
    exit 1
fi
echo "passed: no timeout, no failed request, no 5xx, one rebuild for one expiry"
