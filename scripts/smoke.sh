#!/usr/bin/env bash
# Runs the README's first command: starts the demo, polls it as miners and validators do, and stops it.
#
#   scripts/smoke.sh
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
work=$(mktemp -d)
# Builds first, so that the wait for the server does not include the build.
cargo build --release --locked --quiet
cargo run --release --locked --quiet -- demo --address 127.0.0.1:0 >"$log" &
demo=$!
# SIGTERM: the shell has made background processes ignore SIGINT, until the demo has a handler.
trap 'pkill -P "$demo" || true; kill "$demo" 2>/dev/null || true; rm -rf "$log" "$work"' EXIT

url=
for _ in $(seq 600); do
    url=$(sed -n 's|.*curl -i \(http://[0-9.:]*\)/v1/.*active-challenges$|\1|p' "$log" | head -1)
    [ -n "$url" ] && break
    kill -0 "$demo" || { echo "smoke: demo has ended" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { echo "smoke: demo did not print its address" >&2; exit 1; }

status() { curl --silent --show-error --max-time 10 --output /dev/null --write-out '%{http_code}' "$@"; }
expect() { [ "$2" = "$3" ] || { echo "smoke: $1: expected $2, got $3" >&2; exit 1; }; echo "smoke: $1: $3"; }

board="$url/v1/synthetic-boolean/active-challenges"
expect "board" 200 "$(status "$board")"
expect "board with *" 304 "$(status -H 'If-None-Match: *' "$board")"
etag=$(curl --silent --head "$board" | tr -d '\r' | sed -n 's/^etag: //p')
expect "board with $etag" 304 "$(status -H "If-None-Match: $etag" "$board")"
feed="$url/api/cathedral/v1/leaderboard/recent?since_ran_at=2026-06-07T00:00:00Z"
expect "feed" 200 "$(status "$feed")"
expect "feed without a cursor" 400 "$(status "${feed%%\?*}")"
expect "health" 200 "$(status "$url/health")"

# The two lines of shell that follow the board, as the demo prints them. Each board that they get is one more line with
# a tag; the second one comes when a challenge opens, within ten seconds.
sed -n '/two lines of sh:$/,/done$/p' "$log" | sed 1d >"$work/follow.sh"
expect "lines that follow the board" 2 "$(wc -l <"$work/follow.sh")"
expect "boards that they get" 2 "$(cd "$work" && timeout 30 sh follow.sh | grep -m 2 '^"' | sort -u | wc -l)"
expect "board.json" '{"family_id":' "$(head -c 13 "$work/board.json")"

# `cargo run` does not forward a signal to its child.
pkill -INT -P "$demo" || kill -INT "$demo"
wait "$demo"
echo "smoke: demo ended cleanly"
