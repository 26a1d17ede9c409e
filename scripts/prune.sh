#!/usr/bin/env bash
# Measures what `prune rows` does to clients: the board, the feed and writers of a server, without it and beside it.
#
#   scripts/prune.sh            OUT=scripts/prune.txt, ROWS=500000; two minutes
#   BINARY=… HERD=…             other programs than those of the release build
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-scripts/prune.txt} rows=${ROWS:-500000} seconds=${SECONDS_EACH:-20}
target=${CARGO_TARGET_DIR:-$PWD/target}/release
binary=${BINARY:-$target/cathedral-publisher} herd=${HERD:-$target/herd}
[ -n "${BINARY:-}" ] || cargo build --release --locked --quiet
[ -n "${HERD:-}" ] || cargo build --release --locked --quiet -p herd --bin herd

folder=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT

export PUBLISHER_ADMIN_TOKEN=a-token-of-this-script-only-0123456789
database=$folder/publisher.db
"$binary" sample board --count 51 --seed 1 | "$binary" import board - --database "$database" >/dev/null
"$binary" sample rows --count "$rows" --seed 1 | "$binary" import rows - --database "$database" >/dev/null
"$binary" serve --address 127.0.0.1:0 --database "$database" 2>"$folder/log" &
server=$!
for _ in $(seq 100); do
    address=$(sed -n 's|.* on http://\([0-9.:]*\).*|\1|p' "$folder/log" | head -n 1)
    [ -z "$address" ] || break
    sleep 0.1
done
[ -n "$address" ] || { cat "$folder/log" >&2; exit 1; }

run() { # NAME
    "$herd" "http://$address/v1/synthetic-boolean/active-challenges" --name "$1" --duration-secs "$seconds" \
        --clients 64 --rate 400 --validators 8 --feed-url "http://$address/v1/leaderboard/recent" \
        --feed-since "$(date -u +%FT%TZ)" --feed-interval-ms 500 \
        --writers 4 --write-url "http://$address/v1/admin/eval-runs" --write-interval-ms 200 --write-rows 20 --strict
}
prune() { "$binary" prune rows --before "$(date -u +%FT%TZ)" --database "$database" "$@"; }

{
    echo "scripts/prune.sh, $(date -u +%F), $(git describe --always --dirty 2>/dev/null || echo 'no git'), $(nproc) cores"
    echo "load average before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    printf '\n%s\n' "without prune"
    run without
    printf '\n%s\n' "beside prune"
    prune --dry-run
    begun=$(date +%s.%N)
    (
        prune
        echo "prune took $(echo "$(date +%s.%N) - $begun" | bc) s"
    ) >"$folder/pruned" 2>&1 &
    run beside
    wait $!
    cat "$folder/pruned"
    echo "the database has $(stat -c %s "$database") bytes, and $(stat -c %s "$database-wal") of log"
} | tee "$out"
