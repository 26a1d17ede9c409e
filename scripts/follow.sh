#!/usr/bin/env bash
# What a follower saves its upstream: 1,000 clients poll the board every 15 s and 100 the feed every 30 s, first at the
# upstream, then at a follower of it. Meanwhile rows are written every 5 s, and a challenge every 20 s. Prints requests
# and bytes of bodies at the upstream.
#
#   scripts/follow.sh          SECONDS_EACH=60 PUBLISHER=target/release/cathedral-publisher HERD=target/release/herd
#
# The third run follows an upstream that is polled, as one of another make: it is asked through a proxy (nginx) that knows
# neither `since_seq` nor waiting. Without nginx it is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-60}
target=${CARGO_TARGET_DIR:-$PWD/target}/release
publisher=${PUBLISHER:-$target/cathedral-publisher} herd=${HERD:-$target/herd}
[ -n "${PUBLISHER:-}" ] || cargo build --release --locked --quiet
[ -n "${HERD:-}" ] || cargo build --release --locked --quiet -p herd --bin herd
work=$(mktemp -d)
pids=()
trap '[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN PUBLISHER_LOG=warn

start() { # NAME [OPTION…]: sets `url`
    local name=$1
    shift
    : >"$work/$name.log"
    "$publisher" serve --address 127.0.0.1:0 --log-level info --max-connections 2000 --workers 1 "$@" 2>"$work/$name.log" &
    pids+=($!)
    for _ in $(seq 200); do
        url=$(sed -nE 's#^.* on (http://127\.0\.0\.1:[0-9]+)$#\1#p' "$work/$name.log" | head -1)
        [ -z "$url" ] || return 0
        sleep 0.05
    done
    cat "$work/$name.log" >&2
    exit 1
}

ready() { # URL: waits until the server there is ready
    for _ in $(seq 300); do
        curl -sf -o "$work/ready" "$1/health/ready" && return
        sleep 0.1
    done
    echo "follow: $1 is not ready" >&2
    exit 1
}

# Requests and bytes of bodies of the public paths.
counted() {
    curl -s "$1/metrics" | awk '
        /^publisher_http_requests_total\{route="(active-challenges|changes|leaderboard)"/ { requests += $2 }
        /^publisher_http_response_body_bytes_total\{route="(active-challenges|changes|leaderboard)"/ { bytes += $2 }
        END { print requests + 0, bytes + 0 }'
}

write() {
    local seed=$1
    "$publisher" sample rows --count 20 --seed "$seed" |
        sed -E "s/\"ran_at\":\"[^\"]*\"/\"ran_at\":\"$(date -u +%FT%T.%3NZ)\"/" |
        curl -sf -o "$work/written" -H "Authorization: Bearer $PUBLISHER_ADMIN_TOKEN" -H "Content-Type: application/x-ndjson" --data-binary @- "$upstream/v1/admin/eval-runs"
    [ $((seed % 4)) != 0 ] || "$publisher" sample board --count 1 --seed "$seed" |
        curl -sf -o "$work/written" -H "Authorization: Bearer $PUBLISHER_ADMIN_TOKEN" -H "Content-Type: application/x-ndjson" --data-binary @- "$upstream/v1/admin/challenges"
}

measure() { # NAME URL
    local before after
    before=$(counted "$upstream")
    "$herd" "$2/v1/synthetic-boolean/active-challenges" --clients 1000 --rate 67 --duration-secs "$seconds" --json >"$work/board.json" &
    local board=$!
    "$herd" "$2/v1/leaderboard/recent?since_ran_at=2026-06-07T00:00:00Z&since_id=" --clients 100 --rate 3.4 --duration-secs "$seconds" --json >"$work/feed.json" &
    local feed=$!
    local end=$((SECONDS + seconds))
    while [ $SECONDS -lt $end ]; do
        seed=$((seed + 1))
        write "$seed"
        sleep 5
    done
    wait $board $feed
    after=$(counted "$upstream")
    read -r before_requests before_bytes <<<"$before"
    read -r requests bytes <<<"$after"
    printf '%-46s %8d requests %12d bytes\n' "$1" $((requests - before_requests)) $((bytes - before_bytes))
}

"$publisher" sample board --count 51 | "$publisher" import board - --database "$work/upstream.db" >/dev/null
"$publisher" sample rows --count 5000 | "$publisher" import rows - --database "$work/upstream.db" >/dev/null
start upstream --database "$work/upstream.db"
upstream=$url
seed=1000

echo "scripts/follow.sh, $(date -u +%F), $(git describe --always --dirty 2>/dev/null || echo 'no git'), at the upstream in $seconds s:"
measure "direct" "$upstream"
start follower --database "$work/follower.db" --follow "$upstream"
follower=$url
ready "$follower"
sleep 2
measure "through a follower that waits" "$follower"
if command -v nginx >/dev/null; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$work/nginx.conf" <<NGINX
daemon off; pid $work/nginx.pid; error_log $work/nginx.log; worker_processes 1;
events {}
http { access_log off; client_body_temp_path $work; proxy_temp_path $work; fastcgi_temp_path $work; uwsgi_temp_path $work; scgi_temp_path $work;
  server { listen 127.0.0.1:$port;
    location ~ /changes\$ { return 404; }
    location / { if (\$arg_since_seq) { return 400; } proxy_pass $upstream; } } }
NGINX
    nginx -c "$work/nginx.conf" -p "$work" &
    pids+=($!)
    start polling --database "$work/polling.db" --follow "http://127.0.0.1:$port"
    polling=$url
    ready "$polling"
    kill "${pids[1]}"
    sleep 2
    measure "through a follower that polls" "$polling"
fi
curl -s "$url/metrics" | grep '^publisher_follow'
