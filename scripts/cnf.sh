#!/usr/bin/env bash
# Measures active-cnf beside nginx, which serves the same file as a static one (sendfile): processor time of the server for
# each answer, its memory (proportional set size), and 500 clients at once. Then a formula of 1 GB, of which 64 clients read
# at different places: memory must not depend on its size.
#
#   scripts/cnf.sh [BINARY]
#
# Without BINARY it builds the publisher in release mode. Needs wrk and jq, and 2 GB in the folder for temporary files; prints
# SKIPPED for nginx if it is not installed. The clients take processor time of the same machine. It fails if a chunk was
# read from the disk more than once by 500 clients.
set -euo pipefail
export PUBLISHER_LOG=warn
[ $# -eq 0 ] || set -- "$(realpath "$1")"
cd "$(dirname "$0")/.."
. scripts/lib.sh

seconds=${SECONDS_EACH:-3} rounds=${ROUNDS:-3}
publisher=${1:-${CARGO_TARGET_DIR:-$PWD/target}/release/cathedral-publisher}
[ $# -gt 0 ] || cargo build --release --locked --quiet
work=$(mktemp -d)
chmod 755 "$work"
pids=()
end() {
    local pid
    [ ! -e "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT

# The process and its children.
family() { echo "$1" $(pgrep -P "$1" || true); }
# Clock ticks of the processor, in user and kernel mode.
ticks() { for pid in $(family "$1"); do cat "/proc/$pid/stat"; done | awk '{ sub(/.*\) /, ""); sum += $12 + $13 } END { print sum }'; }
memory_kb() { for pid in $(family "$1"); do cat "/proc/$pid/smaps_rollup"; done 2>/dev/null | awk '/^Pss:/ { sum += $2 } END { print sum }'; }
metric() { curl -s "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }

mkdir "$work/cnf"
chmod 755 "$work/cnf"
"$publisher" sample board --count 2 --seed 7 --cnf-dir "$work/cnf" >"$work/items"
small=$(jq -r 'select(.tier == 1) | .cnf_sha256' "$work/items")
small_id=$(jq -r 'select(.tier == 1) | .challenge_id' "$work/items")
# Text that is as long as it must be; nobody solves it.
(yes '1 -2 3 0' || true) | head -c 1000000000 >"$work/cnf/large"
large=$(sha256sum "$work/cnf/large" | cut -c1-64)
mv "$work/cnf/large" "$work/cnf/$large.cnf"
jq -c --arg hash "$large" 'select(.tier == 3) | .cnf_sha256 = $hash | .cnf_bytes = 1000000000' "$work/items" >"$work/large"
large_id=$(jq -r .challenge_id "$work/large")
jq -c 'select(.tier == 1)' "$work/items" | cat - "$work/large" >"$work/board"
"$publisher" import board "$work/board" --database "$work/a.db" >/dev/null
chmod 644 "$work"/cnf/*

port=$(free_port)
# Codings are measured nowhere here, and those of 1 GB would be made meanwhile.
"$publisher" serve --database "$work/a.db" --address "127.0.0.1:$port" --cnf-dir "$work/cnf" --cnf-codings-mib 0 &
server=$!
pids+=("$server")
url=http://127.0.0.1:$port
wait_for "$url/health/live"
path="/v1/synthetic-boolean/active-cnf?challenge_id=$small_id"
# The first request reads the file as a whole.
wait_for "$url$path"

nginx=
if command -v nginx >/dev/null; then
    nginx_port=$(free_port)
    cat >"$work/nginx.conf" <<CONF
pid $work/nginx.pid;
error_log $work/nginx.log;
worker_processes auto;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100 inactive=60s;
    keepalive_requests 1000000;
    default_type text/plain;
    server { listen 127.0.0.1:$nginx_port backlog=2048; root $work/cnf; }
}
CONF
    nginx -c "$work/nginx.conf" -p "$work"
    for _ in $(seq 100); do [ -s "$work/nginx.pid" ] && break; sleep 0.05; done
    nginx=$(cat "$work/nginx.pid")
    nginx_url=http://127.0.0.1:$nginx_port/$small.cnf
    wait_for "$nginx_url"
    cmp <(curl -s "$url$path") <(curl -s "$nginx_url") || { echo "cnf: other bytes than nginx" >&2; exit 1; }
else
    echo "SKIPPED: nginx is not installed"
fi

bytes=$(stat -c %s "$work/cnf/$small.cnf")
echo "one formula of $bytes bytes, $rounds interleaved rounds of $seconds s; all of them, not the best:"
measure() { # NAME PID CONNECTIONS WRK-ARGUMENTS
    local name=$1 pid=$2 connections=$3 before after
    shift 3
    before=$(ticks "$pid")
    wrk -t2 -c"$connections" -d"${seconds}s" "$@" >"$work/wrk" 2>&1 &
    local load=$!
    sleep "$(awk -v s="$seconds" 'BEGIN { print s / 2 }')"
    local memory
    memory=$(memory_kb "$pid")
    wait "$load"
    after=$(ticks "$pid")
    awk -v name="$name" -v connections="$connections" -v ticks=$((after - before)) -v memory="$memory" -v hertz="$(getconf CLK_TCK)" '
        / requests in / { requests = $1 }
        /Transfer\/sec/ { rate = $2 }
        /Socket errors|Non-2xx/ { errors = errors " " $0 }
        END { printf "  %-10s %4d connections %8d answers %10s/s %8.1f µs of processor each %7.1f MB%s\n", name, connections, requests, rate, 1e6 * ticks / hertz / (requests ? requests : 1), memory / 1024, errors }' "$work/wrk"
}
for connections in 64 500; do
    for _ in $(seq "$rounds"); do
        measure publisher "$server" "$connections" "$url$path"
        [ -z "$nginx" ] || measure nginx "$nginx" "$connections" "$nginx_url"
    done
done
echo "304 to a client that has the formula:"
for _ in $(seq "$rounds"); do
    measure publisher "$server" 64 -H "If-None-Match: \"${small:0:16}\"" "$url$path"
    [ -z "$nginx" ] || measure nginx "$nginx" 64 -H "If-None-Match: $(curl -sI "$nginx_url" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')" "$nginx_url"
done
read_chunks=$(metric 'publisher_cnf_chunks_total{from="read"}')
chunks=$(((bytes + 131071) / 131072))
echo "chunks of the formula: $chunks; read from the disk: $read_chunks; sent from memory: $(metric 'publisher_cnf_chunks_total{from="held"}')"
[ "$read_chunks" -le "$chunks" ] || { echo "cnf: chunks were read again" >&2; exit 1; }

echo "a formula of 1 GB, 64 clients at different places, each of which reads 40 MB at 20 MB/s at most:"
large_url="$url/v1/synthetic-boolean/active-cnf?challenge_id=$large_id"
begun=$(date +%s%3N)
wait_for_large() { for _ in $(seq 100); do curl -sf -o /dev/null -r 0-0 "$large_url" && return; sleep 0.2; done; echo "cnf: 1 GB was not checked" >&2; exit 1; }
wait_for_large
echo "  checked and served after $(($(date +%s%3N) - begun)) ms; $(($(memory_kb "$server") / 1024)) MB"
clients=()
for at in $(seq 0 63); do
    from=$((at * 15000000))
    curl -s --limit-rate 20M -o /dev/null -r "$from-$((from + 39999999))" "$large_url" &
    clients+=($!)
done
most=0
while [ -n "$(jobs -pr | grep -Fx -f <(printf '%s\n' "${clients[@]}") || true)" ]; do
    now=$(memory_kb "$server")
    [ "$now" -le "$most" ] || most=$now
    sleep 0.1
done
echo "  most memory meanwhile: $((most / 1024)) MB"
