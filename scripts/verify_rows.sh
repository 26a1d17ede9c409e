#!/usr/bin/env bash
# What --verify-rows costs: the same eval runs are posted to a server with and without it, in turns.
#
#   scripts/verify_rows.sh [ROUNDS [REQUESTS [ROWS_PER_REQUEST]]]
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5} requests=${2:-100} rows=${3:-200}
publisher=${PUBLISHER:-$PWD/target/release/cathedral-publisher}
[ -n "${PUBLISHER:-}" ] || cargo build --release --locked --quiet
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
"$publisher" sample jwks >"$work/jwks"
"$publisher" sample rows --count $((requests * rows)) | split -l "$rows" -a 5 - "$work/rows."
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN

# One curl with one connection sends them one after the other.
requests_to() { # URL
    local next=
    for file in "$work"/rows.*; do
        printf '%b' "$next"
        next='next\n'
        printf 'url = "%s/v1/admin/eval-runs"\nheader = "Authorization: Bearer %s"\n' "$1" "$PUBLISHER_ADMIN_TOKEN"
        printf 'header = "Content-Type: application/x-ndjson"\ndata-binary = "@%s"\n' "$file"
        printf 'output = "/dev/null"\nwrite-out = "%%{http_code}\\n"\n'
    done
}

# Prints the requests, the rows per second and the processor time of the server per row.
measure() { # NAME OPTION…
    local name=$1
    shift
    rm -f "$work"/a.db*
    : >"$work/log"
    "$publisher" serve --database "$work/a.db" --address 127.0.0.1:0 "$@" 2>"$work/log" &
    server=$!
    local url
    until url=$(sed -n 's|.* on \(http://[0-9.:]*\)$|\1|p' "$work/log") && [ -n "$url" ]; do
        kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
        sleep 0.05
    done
    requests_to "$url" >"$work/curl"
    local before after begun ended stored
    before=$(awk '{print $14 + $15}' "/proc/$server/stat")
    begun=$(date +%s%N)
    stored=$(curl --silent --config "$work/curl" | grep -c '^200$' || true)
    ended=$(date +%s%N)
    after=$(awk '{print $14 + $15}' "/proc/$server/stat")
    [ "$stored" = "$requests" ] || { echo "$name: only $stored of $requests requests were stored" >&2; exit 1; }
    awk -v name="$name" -v rows=$((requests * rows)) -v nanos=$((ended - begun)) -v ticks=$((after - before)) \
        -v hz="$(getconf CLK_TCK)" 'BEGIN {
            printf "%-16s %8.0f rows/s  %6.1f µs of processor time a row\n", name, rows / nanos * 1e9, ticks / hz * 1e6 / rows
        }'
    kill "$server"
    wait "$server" || true
    server=
}

echo "$requests requests of $rows rows each, one after the other"
for ((round = 1; round <= rounds; round++)); do
    measure plain
    measure verified --jwks "$work/jwks" --verify-rows
done
