#!/usr/bin/env bash
# Counts what one minute of the production mix sends, for a server like the one that the publisher replaces and
# for the publisher, and extrapolates to an hour.
#
#   scripts/egress.sh          BOARD=board.json uses a saved answer instead of sample data
#
# 165 miners poll the board every 15 s (11 polls/s), 200 validators pull the feed every 30 s and follow their
# cursors, a producer posts five eval runs every 5 s, and the board changes once.
#
# before: the example `before` of scripts/herd; clients that send no If-None-Match and no Accept-Encoding.
# after:  `serve` with its defaults; clients that keep their entity-tags and accept "gzip, zstd, br".
#
# Counts all bytes on the loopback interface: requests, heads, bodies, TCP and IP. Nothing else may use that
# interface during the run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
# Two builds, so that the server has only the features of its own dependencies.
cargo build --release --locked --quiet
cargo build --release --locked --quiet -p herd --bin herd --example before
publisher=target/release/cathedral-publisher
herd=target/release/herd
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN PUBLISHER_LOG=warn

if [ -n "${BOARD:-}" ]; then cat "$BOARD"; else "$publisher" sample board --count 51; fi >"$work/board.json"
"$publisher" import board "$work/board.json" --database "$work/data.db" >/dev/null
"$publisher" sample rows --count 20000 | "$publisher" import rows - --database "$work/data.db" >/dev/null
# The validators' first cursor: fifty rows before the end.
since=$("$publisher" export rows --ndjson --database "$work/data.db" | tail -50 | sed -n 1p | sed 's/.*"ran_at":"\([^"]*\)".*/\1/')

loopback() { sed -n 's/^ *lo: *\([0-9]*\).*/\1/p' /proc/net/dev; }

run() { # NAME HERD-OPTIONS
    local name=$1 url= begun
    shift
    cp "$work/data.db" "$work/$name.db"
    if [ "$name" = before ]; then
        target/release/examples/before "$work/$name.db" >"$work/$name.log" 2>&1 &
    else
        "$publisher" serve --database "$work/$name.db" --address 127.0.0.1:0 --log-level info 2>"$work/$name.log" &
    fi
    server=$!
    # `serve` logs "... on http://ADDRESS", `before` prints the address alone.
    until url=$(sed -nE 's#^(.* on http://)?(127\.0\.0\.1:[0-9]+)$#http://\2#p' "$work/$name.log" | head -1) && [ -n "$url" ]; do
        kill -0 "$server" || { cat "$work/$name.log" >&2; exit 1; }
        sleep 0.05
    done
    (
        sleep 30
        curl -sf -o /dev/null -X POST -H "Authorization: Bearer $PUBLISHER_ADMIN_TOKEN" \
            -H 'Content-Type: application/json' --data-binary "@$work/change.json" "$url/v1/admin/challenges"
    ) &
    local change=$!
    begun=$(loopback)
    "$herd" "$url/v1/synthetic-boolean/active-challenges" --name "$name" --json --ramp-ms 15000 \
        --clients 165 --interval-ms 15000 --arrival loop --duration-secs "$seconds" --timeout-ms 5000 \
        --validators 200 --feed-url "$url/v1/leaderboard/recent" --feed-interval-ms 30000 --feed-since "$since" \
        --writers 1 --write-url "$url/v1/admin/eval-runs" --write-interval-ms 5000 --write-rows 5 "$@" >"$work/$name.json"
    echo $(($(loopback) - begun)) >"$work/$name.bytes"
    wait "$change"
    stop
}

# The change of the board: another multiplier for one challenge.
jq -c '.items[:1] | .[0].score_multiplier = 1.25' "$work/board.json" >"$work/change.json"
run before --unconditional
run after --accept-encoding "gzip, zstd, br" --feed-accept-encoding "gzip, zstd, br"

echo "one minute of the production mix, bytes on the wire (both directions, all of TCP/IP):"
for name in before after; do
    awk -v name="$name" '{ printf "  %-8s %11.3f MB a minute %9.1f MB an hour %7.2f GB a day\n", name, $1 / 1e6, $1 * 60 / 1e6, $1 * 1440 / 1e9 }' "$work/$name.bytes"
done
awk 'NR == FNR { before = $1; next } { printf "  ratio    %.1f\n", before / $1 }' "$work/before.bytes" "$work/after.bytes"
cp "$work"/{before,after}.json target/ 2>/dev/null || true
