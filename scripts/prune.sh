#!/usr/bin/env bash
# Measures what `prune rows` does to clients: the board, the feed and writers of a server, in turns without it and beside it.
# What else the machine does meets both alike. Prints each run, and the medians.
#
#   scripts/prune.sh            OUT=scripts/prune.txt, ROWS=500000, ROUNDS=7, SECONDS_EACH=10; three minutes
#   BINARY=… HERD=…             other programs than those of the release build
#   OTHER=…                     another program, whose `prune` is measured in the same rounds
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-scripts/prune.txt} rows=${ROWS:-500000} rounds=${ROUNDS:-7} seconds=${SECONDS_EACH:-10}
target=${CARGO_TARGET_DIR:-$PWD/target}/release
binary=${BINARY:-$target/cathedral-publisher} herd=${HERD:-$target/herd}
[ -n "${BINARY:-}" ] || cargo build --release --locked --quiet
[ -n "${HERD:-}" ] || cargo build --release --locked --quiet -p herd --bin herd

folder=$(mktemp -d)
server= pruning=
end() {
    for pid in $pruning $server; do { kill "$pid" && wait "$pid"; } 2>/dev/null || true; done
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
# The rows that are written meanwhile stay.
before=$(date -u +%FT%TZ)

run() { # NAME
    "$herd" "http://$address/v1/synthetic-boolean/active-challenges" --name "$1" --duration-secs "$seconds" \
        --clients 64 --rate 400 --validators 8 --feed-url "http://$address/v1/leaderboard/recent" \
        --feed-since "$(date -u +%FT%TZ)" --feed-interval-ms 500 \
        --writers 4 --write-url "http://$address/v1/admin/eval-runs" --write-interval-ms 200 --write-rows 20 --strict --json
}
left() { "$binary" prune rows --before "$before" --database "$database" --dry-run | cut -d ' ' -f 1; }
beside() { # NAME PROGRAM ROUND
    local count
    count=$(left)
    "$2" prune rows --before "$before" --database "$database" >"$folder/pruned" 2>&1 &
    pruning=$!
    run "$1" >"$folder/$1-$3.json"
    # Each transaction stands for itself.
    kill "$pruning" || { echo "prune has ended before the clients: more ROWS are needed: $(cat "$folder/pruned")" >&2; exit 1; }
    wait "$pruning" || true
    pruning=
    echo $(((count - $(left)) / seconds)) >"$folder/$1-$3.rate"
}

{
    echo "scripts/prune.sh, $(date -u +%F), $(git describe --always --dirty 2>/dev/null || echo 'no git'), $(nproc) cores"
    echo "load average before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    for round in $(seq "$rounds"); do
        run without >"$folder/without-$round.json"
        [ -z "${OTHER:-}" ] || beside other "$OTHER" "$round"
        beside beside "$binary" "$round"
    done
    echo "load average after: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    python3 - "$folder" "$rounds" <<'PYTHON'
import json, os, statistics, sys
folder, rounds = sys.argv[1], range(1, int(sys.argv[2]) + 1)
columns = [("board p50", "pollers", "p50_ms"), ("board p99", "pollers", "p99_ms"), ("board p99.9", "pollers", "p999_ms"),
           ("feed p99", "validators", "p99_ms"), ("write p50", "writers", "p50_ms"), ("write p99", "writers", "p99_ms")]
print(f"\n{'ms':14}" + "".join(f"{title:>12}" for title, *_ in columns) + f"{'rows/s gone':>13}")
def line(name, values, rate):
    print(f"{name:14}" + "".join(f"{value:12.2f}" for value in values) + f"{rate:>13}")
medians = []
for name in ["without", "other", "beside"]:
    runs, rates = [], []
    for round in rounds:
        path = f"{folder}/{name}-{round}"
        if not os.path.exists(path + ".json"):
            continue
        run = json.load(open(path + ".json"))
        runs.append([run[role]["latency"][quantile] for _, role, quantile in columns])
        rates.append(int(open(path + ".rate").read()) if os.path.exists(path + ".rate") else 0)
        line(f"{name} {round}", runs[-1], rates[-1])
    if runs:
        medians.append((name, [statistics.median(values) for values in zip(*runs)], int(statistics.median(rates))))
print("\nmedians")
for median in medians:
    line(*median)
PYTHON
    echo
    echo "the database has $(stat -c %s "$database") bytes, and $(stat -c %s "$database-wal") of log"
} | tee "$out"
