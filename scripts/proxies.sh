#!/usr/bin/env bash
# Checks nginx and Varnish with the configurations of scripts/deploy: a request through each of them gets the
# same bytes, entity-tags and 304s as a direct request, what is not public gets 404 however its path is written, and
# no client chooses the address that it is limited by, or what others get. Then 100 clients wait for the board and 50 for
# the feed behind each proxy, for five slots with one change of each: a cache lets one request wait for all of them. In
# the end the publisher behind each cache is restarted while clients wait. Meanwhile another publisher is killed, and the
# caches in front of it go on with the same answers.
#
#   scripts/proxies.sh [--long] [BINARY]
#
# Without BINARY it builds the publisher in release mode; the clients that wait are `herd` as the tests build it. Prints
# SKIPPED for a proxy that is not installed. Slots last 5 s here, and 25 s, as by default, with --long. The publisher is gone
# for 45 s at least, with --long for 120 s.
set -euo pipefail
export PUBLISHER_LOG=warn
slot=5 gone=45
[ "${1:-}" != --long ] || { slot=25 gone=120; shift; }
[ $# -eq 0 ] || set -- "$(realpath "$1")"
cd "$(dirname "$0")/.."
. scripts/lib.sh

publisher=${1:-${CARGO_TARGET_DIR:-$PWD/target}/release/cathedral-publisher}
[ $# -gt 0 ] || cargo build --release --locked --quiet
work=$(mktemp -d)
chmod 755 "$work"
pids=()
end() {
    local pid
    for pid in "$work"/*.pid; do [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT


"$publisher" sample board --count 51 >"$work/board"
"$publisher" import board "$work/board" --database "$work/a.db" >/dev/null
"$publisher" sample rows --count 500 | "$publisher" import rows - --database "$work/a.db" >/dev/null
"$publisher" sample jwks >"$work/jwks.json"
port=$(free_port)
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64) "$publisher" serve --database "$work/a.db" --jwks "$work/jwks.json" \
    --address "127.0.0.1:$port" --trusted-proxies 127.0.0.1 --access-log all --log-level warn,access=info 2>"$work/log" &
pids+=($!)
direct=http://127.0.0.1:$port
wait_for "$direct/health/live"

board=/v1/synthetic-boolean/active-challenges
feed="/v1/leaderboard/recent?since_ran_at=2020-01-01T00:00:00Z&limit=100"
checks=0
tag() { curl -s -D - -o /dev/null "${@:2}" "$1" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p'; }
# Brotli is added when the board has not changed for a second. Then its variants stay the same.
for _ in $(seq 200); do
    ! tag "$direct$board" -H 'Accept-Encoding: br' | grep -q -- '-br[0-9]*"' || break
    sleep 0.05
done
# Compares status, entity-tag, coding, Vary, Cache-Control and body.
same() { # NAME PROXY PATH CURL-OPTIONS
    local name=$1 proxy=$2 path=$3 at
    shift 3
    for at in "$direct" "$proxy"; do
        curl -s -D "$work/head" -o "$work/body" "$@" "$at$path"
        # A cache may put more fields into a 304 than it must (RFC 9110 §15.4.5).
        ! sed -n 1p "$work/head" | grep -q ' 304' || sed -i '/^content-encoding/Id' "$work/head"
        # With -I curl writes the head into the body's file.
        [ "$*" != -I ] || : >"$work/body"
        { sed -n 1p "$work/head" | cut -d ' ' -f 2
          tr -d '\r' <"$work/head" | sed -nE '/^(etag|content-encoding|vary|cache-control):/Ip' | tr 'A-Z' 'a-z' | sort
          sha256sum <"$work/body"; } >"$work/seen-$([ "$at" = "$direct" ] && echo direct || echo proxy)"
        : >"$work/body"
    done
    diff "$work/seen-direct" "$work/seen-proxy" >&2 || fail "$name, $path $*: different answers (< direct, > through it)"
    checks=$((checks + 1))
}
through() { # NAME PROXY
    local name=$1 proxy=$2 path coding etag
    checks=0
    for path in "$board" "/api/cathedral$board" "$feed"; do
        for coding in "" identity gzip zstd br "br, zstd;q=0.5" "identity;q=0, *;q=0"; do
            local with=(-H "Accept-Encoding: $coding")
            [ -n "$coding" ] || with=()
            # Twice: the second answer may come from the proxy's cache.
            same "$name" "$proxy" "$path" "${with[@]}"
            same "$name" "$proxy" "$path" "${with[@]}"
            etag=$(tag "$direct$path" "${with[@]}")
            [ -n "$etag" ] || continue
            same "$name" "$proxy" "$path" "${with[@]}" -H "If-None-Match: $etag"
            same "$name" "$proxy" "$path" "${with[@]}" -H "If-None-Match: W/$etag, \"other\""
            same "$name" "$proxy" "$path" "${with[@]}" -H "If-None-Match: \"other\",$etag"
            same "$name" "$proxy" "$path" "${with[@]}" -H 'If-None-Match: *'
            # nginx refuses a field in two lines, whatever its configuration says.
            [ "$name" = nginx ] ||
                same "$name" "$proxy" "$path" "${with[@]}" -H 'If-None-Match: "other"' -H "If-None-Match: $etag"
            same "$name" "$proxy" "$path" "${with[@]}" -H 'If-None-Match: "other"'
        done
        same "$name" "$proxy" "$path" -I
    done
    same "$name" "$proxy" /v1/leaderboard/recent
    same "$name" "$proxy" "$board" -X DELETE
    echo "proxies: $name: $checks answers are the same"
}

# Whatever is not public, in every notation that a proxy and a server might understand differently.
hidden() { # NAME PROXY
    local name=$1 proxy=$2 path prefix status checked=0
    for prefix in "" /api/cathedral; do
        for path in / /nope /metrics /metrics/ '/metrics?a' /METRICS /%6detrics /%6Detrics /%256detrics //metrics \
            /./metrics /v1/../metrics /metrics%3F '/metrics;a' '/metrics%00' /metrics%2f '/\metrics' '/metrics#a' \
            /health /health/live /health/ready /Health /%68ealth //health //health/ready /v1/../health /health/x \
            /v1/admin/eval-runs /v1/admin/challenges /v1/admin/challenges/a /v1/admin/merkle-epochs/1 \
            /v1/%61dmin/eval-runs //v1/admin/eval-runs /v1//admin/eval-runs /V1/admin/eval-runs \
            /v1/leaderboard/recent/../../admin/eval-runs /v1/leaderboard/recent/..%2f..%2fadmin%2feval-runs \
            /v1/leaderboard/recent/%2e%2e/%2e%2e/admin/eval-runs /api/cathedral/metrics /api/cathedral/health \
            /.well-known/x /.well-known/../metrics /v1/synthetic-boolean/active-cnf/../../admin/challenges \
            /v1/synthetic-boolean/active-challenges//metrics /health/ready/ /health/live/; do
            for method in GET POST PUT; do
                status=$(curl -s --interface 127.0.0.9 --path-as-is -X $method -o "$work/body" -w '%{http_code}' "$proxy$prefix$path")
                [[ $status = 40[034] ]] || fail "$name passes $method $prefix$path: $status"
                ! grep -qE 'publisher_|checks|token' "$work/body" || fail "$name shows $prefix$path"
                checked=$((checked + 1))
            done
        done
    done
    # With an absolute target, as for a forward proxy.
    for path in http://a/metrics HTTP://a/metrics http://a//metrics; do
        status=$(curl -s --interface 127.0.0.9 --request-target "$path" -o /dev/null -w '%{http_code}' "$proxy")
        [[ $status = 40[034] ]] || fail "$name passes $path: $status"
    done
    ! grep -q 'client=127.0.0.9 ' "$work/log" || fail "$name has passed on: $(grep 'client=127.0.0.9 ' "$work/log")"
    echo "proxies: $name: $checked requests of hidden paths are refused"
}
# Other names of the board, and what is served only if the publisher has files for it.
more_paths() { # NAME PROXY
    local name=$1 proxy=$2 path
    checks=0
    for path in "$board/" /v1/synthetic-boolean/challenge-broadcast /v1/synthetic-boolean/challenge-broadcast/ "$board?_=1"; do
        for path in "$path" "/api/cathedral$path"; do
            [ "$(tag "$proxy$path" -H 'Accept-Encoding: gzip')" = "$(tag "$direct$board" -H 'Accept-Encoding: gzip')" ] ||
                fail "$name: $path is not the board"
        done
    done
    for path in /.well-known/cathedral-jwks.json "/v1/synthetic-boolean/active-cnf?challenge_id=x"; do
        for path in "$path" "/api/cathedral$path"; do
            same "$name" "$proxy" "$path"
            same "$name" "$proxy" "$path" -I
            same "$name" "$proxy" "$path" -H 'If-None-Match: *'
        done
    done
    same "$name" "$proxy" "/v1/synthetic-boolean/active-cnf?challenge_id=x" -X POST -d x
    echo "proxies: $name: the board's other names, and $checks answers about keys and files"
}
# Both understand a path as the publisher does.
notations() { # NAME PROXY
    local path method at seen
    for path in "$board%0a" "$board//" "$board%2f" "/$board" "$feed%0a" /v1/x/../leaderboard/recent \
        /.well-known/cathedral-jwks.json/ /v1/agents/submit /v1/agents/submit/; do
        for path in "$path" "/api/cathedral$path"; do
            for method in GET POST; do
                seen=()
                for at in "$direct" "$2"; do
                    seen+=("$(curl -s --path-as-is -X $method -w '%{http_code}' "$at$path")")
                done
                [ "${seen[0]}" = "${seen[1]}" ] || fail "$1, $method $path: ${seen[1]}, not ${seen[0]}"
            done
        done
    done
    echo "proxies: $1: every notation of a path means the same"
}
# The contract holds through it.
conforms() { # NAME PROXY
    "$publisher" check "$2" >"$work/$1-check" || fail "$1 breaks the contract: $(grep FAIL "$work/$1-check")"
    echo "proxies: $1: check: $(tail -n 1 "$work/$1-check")"
}
# Each client has the address that it connects from, whatever its fields say.
addresses() { # NAME PROXY
    local name=$1 proxy=$2 from
    for from in 127.0.0.7 127.0.0.8; do
        # A query of its own, so that no cache answers.
        curl -s --interface $from -o /dev/null "$proxy$feed&address=$name-$from" \
            -H 'X-Forwarded-For: 192.0.2.1' -H 'X-Forwarded-For: 192.0.2.2, 127.0.0.1' \
            -H 'Forwarded: for=192.0.2.3' -H 'Forwarded: for=192.0.2.4' -H 'X-Real-IP: 192.0.2.5'
        for _ in $(seq 100); do ! tail -n 1 "$work/log" | grep -q "client=$from " || break; sleep 0.05; done
        tail -n 1 "$work/log" | grep -q "client=$from " || fail "$name: $(tail -n 1 "$work/log") is not of $from"
    done
    ! grep -q 'client=192' "$work/log" || fail "$name: a client has chosen its address"
    echo "proxies: $name: clients have their addresses"
}
# The cache answers the second request for each coding, of any host, and with a cache buster.
caches() { # PROXY
    local proxy=$1 coding
    for coding in identity gzip zstd br; do
        curl -s -o /dev/null -H "Accept-Encoding: $coding" "$proxy$board"
        curl -s -o /dev/null -D - -H "Accept-Encoding: $coding" -H "Host: $coding" "$proxy/api/cathedral$board?_=$coding" |
            grep -qi '^x-varnish: [0-9]* [0-9]' || fail "varnish does not cache $coding"
    done
    echo "proxies: varnish: every coding is cached"
}
# The refusal of one client (429) is neither stored nor in the way of an answer for the next one.
refusals() { # PROXY, in front of a publisher that admits two requests per client
    local proxy=$1 seen="" from
    for from in 7 7 7 8 7; do
        # Two pages of the feed, then the board, which is not in the cache yet.
        local path="$board"
        [ ${#seen} -ge 8 ] || path="$feed&number=${#seen}"
        seen+=$(curl -s --interface 127.0.0.$from -o /dev/null -w '%{http_code} ' "$proxy$path")
    done
    [ "$seen" = "200 200 429 200 200 " ] || fail "varnish in front of a rate limit: $seen"
    echo "proxies: varnish: refusals are not stored"
}

# One client's Host, or none, neither fails nor takes an answer away from the others; a part of an answer is not served;
# no cache keeps an error of the proxy.
hosts() { # NAME PROXY
    local name=$1 proxy=$2 path host version head
    # Not in the cache, and in it.
    for path in "$feed&host=1" "$board"; do
        for version in 1.0 1.1; do
            for host in "Host:" "Host;" "Host: x" "Host: a_b:80" "Host: a/b" "Host: a b" "Host: x:y" 'Host: "' "Host: é"; do
                # To curl, "Host:" is no field, and "Host;" an empty one.
                head=$(curl -s -o /dev/null -D - "--http$version" -H "$host" "$proxy$path" | tr -d '\r')
                if grep -q '^HTTP/1.1 400' <<<"$head"; then
                    # nginx refuses some by itself.
                    [ "$name" = nginx ] && grep -qi '^cache-control: no-store$' <<<"$head" &&
                        ! [[ "$version $host" =~ ^(1.0 Host:|.*: x|.*: a_b:80)$ ]] || fail "$name, HTTP/$version $host: $head"
                else
                    grep -q '^HTTP/1.1 200' <<<"$head" || fail "$name, HTTP/$version $host: $head"
                fi
            done
        done
    done
    for path in "$board" "$feed" "$feed&range=1"; do
        same "$name" "$proxy" "$path" -H 'Range: bytes=0-9'
        same "$name" "$proxy" "$path" -H 'Range: bytes=99999999-'
    done
    for path in /nope "$board"; do
        same_field "$name" "$proxy$path" "$([ "$path" = /nope ] && echo no-store || echo 'public, max-age=15')"
    done
    echo "proxies: $name: no Host and no Range changes an answer"
}
# An answer has Cache-Control once, with this value.
same_field() { # NAME URL VALUE CURL-OPTIONS
    local found
    found=$(curl -s -o /dev/null -D - "${@:4}" "$2" | tr -d '\r' | sed -nE 's/^cache-control: //Ip')
    [ "$found" = "$3" ] || fail "$1, $2: Cache-Control is '$found', not '$3'"
}
# What the proxy answers without a publisher: an error that no cache keeps. Varnish serves a stale answer first.
without_publisher() { # NAME PROXY
    [[ $(curl -s -o /dev/null -w '%{http_code}' "$2$feed&without=$1") = 50[234] ]] || fail "$1 answers without a publisher"
    same_field "$1" "$2$feed&without=$1" no-store
    local path seen
    for path in "$feed&without=$1" /v1/events "/v1/synthetic-boolean/active-cnf?challenge_id=x"; do
        # Varnish notices within 3 s that a publisher is gone; a pipe ends without an answer until then.
        for _ in $(seq 60); do
            seen=$(curl -s -m 3 -o "$work/body" -w '%{http_code} %{content_type} %header{retry-after}' "$2$path" || true)
            [ "$seen" != "503 application/json 1" ] || break
            sleep 0.1
        done
        [ "$seen" = "503 application/json 1" ] && python3 -m json.tool "$work/body" >/dev/null || fail "$1, $path without a publisher: $seen"
    done
    echo "proxies: $1: its errors are not stored"
}
# A client with an invalid Host that makes Varnish fetch the next answer does not remove the stale one.
stale() { # PROXY
    local seen="" _
    curl -s -o /dev/null "$1$board"
    sleep 16
    for _ in 1 2 3 4 5; do
        seen+=$(curl -s -o /dev/null -w '%{http_code} ' -H 'Host: a/b' "$1$board")
        sleep 0.2
    done
    [ "$seen" = "200 200 200 200 200 " ] || fail "varnish with a stale answer and refusals: $seen"
    echo "proxies: varnish: no client removes a stale answer"
}

# A publisher that is killed: the caches in front of it send the same answers for $gone seconds, and to a client that has
# them 304. One request a second for each, so that answers of every age are seen.
outlives() { # NAME PROXY
    local name=$1 proxy=$2 path coding key seen asked=0
    local -A tags bodies
    for path in "$board" "$feed" "/v1/synthetic-boolean/current-challenge?tier=2"; do
        for coding in gzip br identity; do
            key="$path $coding"
            tags[$key]=$(tag "$proxy$path" -H "Accept-Encoding: $coding")
            bodies[$key]=$(curl -s -H "Accept-Encoding: $coding" "$proxy$path" | sha256sum)
            [ -n "${tags[$key]}" ] || fail "$name: $key has no tag"
        done
    done
    for coding in gzip identity; do
        curl -s -o /dev/null -H "Accept-Encoding: $coding" "$proxy/v1/synthetic-boolean/current-challenge?tier=1"
    done
    : >"$work/$name-ready"
    until [ -e "$work/killed" ]; do sleep 0.1; done
    while [ $(($(date +%s) - $(stat -c %Y "$work/killed"))) -lt $gone ]; do
        for path in "$board" "$feed"; do
            for coding in gzip br; do
                key="$path $coding"
                seen=$(curl -s -o "$work/$name-body" -w '%{http_code} %header{etag}' -H "Accept-Encoding: $coding" "$proxy$path")
                [ "$seen" = "200 ${tags[$key]}" ] && [ "$(sha256sum <"$work/$name-body")" = "${bodies[$key]}" ] ||
                    fail "$name, $(($(date +%s) - $(stat -c %Y "$work/killed"))) s after the publisher's end: $key: $seen"
                asked=$((asked + 1))
            done
        done
        sleep 1
    done
    # In gzip or without a coding somebody has asked for it: so all that accept gzip get it.
    for coding in "gzip, deflate, br, zstd" "gzip;q=1.0, *;q=0" "br;q=0, *" "deflate" zstd; do
        seen=$(curl -s -o /dev/null -w '%{http_code}' -H "Accept-Encoding: $coding" "$proxy/v1/synthetic-boolean/current-challenge?tier=1")
        [ "$seen" = 200 ] || fail "$name, at last: current-challenge with $coding: $seen"
    done
    # What nobody has asked for since.
    for key in "${!tags[@]}"; do
        path=${key% *} coding=${key##* }
        seen=$(curl -s -o /dev/null -w '%{http_code} %header{etag}' -H "Accept-Encoding: $coding" "$proxy$path")
        [ "$seen" = "200 ${tags[$key]}" ] || fail "$name, at last: $key: $seen"
        seen=$(curl -s -o /dev/null -w '%{http_code}' -H "Accept-Encoding: $coding" -H "If-None-Match: ${tags[$key]}" "$proxy$path")
        [ "$seen" = 304 ] || fail "$name, at last: $key: $seen instead of 304"
    done
    [[ $(curl -s -o /dev/null -w '%{http_code}' "$proxy$feed&never=asked") = 50[234] ]] || fail "$name invents a page"
    echo "proxies: $name: $asked answers in $gone s without the publisher are the last ones"
}

# Starts nginx with the shipped configuration.
nginx_before() { # NAME PUBLISHER-PORT SED-COMMAND, sets proxy
    proxy=$(free_port)
    { echo "pid $work/$1.pid; error_log $work/$1.log; worker_rlimit_nofile 4096; events { worker_connections 1024; } http { access_log off;"
      for temp in client_body proxy fastcgi uwsgi scgi; do echo "${temp}_temp_path $work/$1-$temp;"; done
      sed "s/127.0.0.1:8080/127.0.0.1:$2/; s/listen 8090/listen 127.0.0.1:$proxy/
           s#/var/cache/cathedral-publisher#$work/$1-cache#; $3" scripts/deploy/nginx.conf
      echo "}"; } >"$work/$1.conf"
    nginx -c "$work/$1.conf" -e "$work/$1.log"
    wait_for "http://127.0.0.1:$proxy$board"
}

# The publisher that is killed, and what is in front of it.
declare -A proxies
outliving=()
mortal=$(free_port)
"$publisher" serve --database "$work/a.db" --read-only --address "127.0.0.1:$mortal" --trusted-proxies 127.0.0.1 2>"$work/mortal-log" &
mortal_pid=$!
pids+=($mortal_pid)
# The same, which tells caches by itself how long they may go on.
mortal_edge=$(free_port)
"$publisher" serve --database "$work/a.db" --read-only --address "127.0.0.1:$mortal_edge" --trusted-proxies 127.0.0.1 \
    --edge-cache 's-maxage=10, stale-while-revalidate=30, stale-if-error=900' 2>>"$work/mortal-log" &
mortal_edge_pid=$!
pids+=($mortal_edge_pid)
for at in $mortal $mortal_edge; do
    wait_for "http://127.0.0.1:$at/health/live"
    # Brotli is there when a board has not changed for a second.
    for _ in $(seq 200); do
        ! tag "http://127.0.0.1:$at$board" -H 'Accept-Encoding: br' | grep -q -- '-br[0-9]*"' || break
        sleep 0.05
    done
done
kill_mortals() {
    kill -9 $mortal_pid $mortal_edge_pid
    wait $mortal_pid $mortal_edge_pid 2>/dev/null || true
    : >"$work/killed"
}
before_mortal() { # NAME, after the proxy is there
    outlives "$1" "http://127.0.0.1:$proxy" &
    outliving+=($!)
    for _ in $(seq 200); do [ ! -e "$work/$1-ready" ] || return 0; sleep 0.05; done
    fail "$1 does not answer"
}
if command -v nginx >/dev/null; then
    nginx_before outliving-nginx "$mortal" ""
    before_mortal outliving-nginx
    # Only --edge-cache says here that stale answers are allowed.
    nginx_before edge-nginx "$mortal_edge" "/proxy_cache_use_stale/d"
    before_mortal edge-nginx
    nginx_before nginx "$port" ""
    through nginx "http://127.0.0.1:$proxy"
    more_paths nginx "http://127.0.0.1:$proxy"
    notations nginx "http://127.0.0.1:$proxy"
    hidden nginx "http://127.0.0.1:$proxy"
    addresses nginx "http://127.0.0.1:$proxy"
    hosts nginx "http://127.0.0.1:$proxy"
    conforms nginx "http://127.0.0.1:$proxy"
    proxies[nginx]=http://127.0.0.1:$proxy
else
    echo "proxies: SKIPPED: nginx is not installed" >&2
fi
if command -v varnishd >/dev/null; then
    varnish() { # NAME PUBLISHER-PORT [SED-COMMAND]
        proxy=$(free_port)
        sed "s/\"8080\"/\"$2\"/; ${3:-}" scripts/deploy/varnish.vcl >"$work/$1.vcl"
        varnishd -F -n "$work/$1" -a "127.0.0.1:$proxy" -f "$work/$1.vcl" -s malloc,32m >"$work/$1.log" 2>&1 &
        pids+=($!)
        # A path that the publisher never sees.
        for _ in $(seq 200); do ! curl -s "http://127.0.0.1:$proxy/" | grep -q 'not found' || return 0; sleep 0.05; done
        fail "varnish does not answer: $(cat "$work/$1.log")"
    }
    varnish outliving-varnish "$mortal"
    before_mortal outliving-varnish
    # One that has only 20 s of patience.
    varnish forgetting "$mortal" "s/grace = 15m/grace = 20s/"
    forgetting=http://127.0.0.1:$proxy
    tag "$forgetting$board" >"$work/forgetting-tag"
    kill_mortals
    varnish a "$port"
    through varnish "http://127.0.0.1:$proxy"
    caches "http://127.0.0.1:$proxy"
    more_paths varnish "http://127.0.0.1:$proxy"
    notations varnish "http://127.0.0.1:$proxy"
    hidden varnish "http://127.0.0.1:$proxy"
    addresses varnish "http://127.0.0.1:$proxy"
    hosts varnish "http://127.0.0.1:$proxy"
    conforms varnish "http://127.0.0.1:$proxy"
    stale "http://127.0.0.1:$proxy"
    proxies[varnish]=http://127.0.0.1:$proxy
    port=$(free_port)
    "$publisher" serve --database "$work/a.db" --address "127.0.0.1:$port" --trusted-proxies 127.0.0.1 \
        --rate-limit 1 --rate-limit-burst 2 --log-level warn &
    pids+=($!)
    wait_for "http://127.0.0.1:$port/health/live"
    varnish limited "$port"
    refusals "http://127.0.0.1:$proxy"
else
    echo "proxies: SKIPPED: varnish is not installed" >&2
    kill_mortals
fi

# Waiting. Each way has a publisher of its own, so that all can be measured at the same time.
herd=${HERD:-${CARGO_TARGET_DIR:-$PWD/target}/debug/herd}
[ -n "${HERD:-}" ] || cargo build --workspace --locked --quiet --bin herd
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN
changes=$board/changes
waiting_publisher() { # NAME, sets port
    port=$(free_port)
    cp "$work/board" "$work/$1-board"
    "$publisher" import board "$work/$1-board" --database "$work/$1.db" >/dev/null
    origins[$1]=http://127.0.0.1:$port
    serve_waits "$1"
}
serve_waits() { # NAME
    "$publisher" serve --database "$work/$1.db" --address "${origins[$1]#http://}" --trusted-proxies 127.0.0.1 \
        --wait-slot-secs $slot --log-level warn &
    pids+=($!) serving[$1]=$!
    wait_for "${origins[$1]}/health/live"
}
# Clients that wait for five slots; in the middle of the third one the board changes, and a row is written, another one
# at the beginning.
clients_wait() { # NAME PROXY
    "$herd" "$2$changes" --wait --json --strict --clients 100 --ramp-ms 500 --duration-secs $((5 * slot - 1)) \
        --validators 50 --feed-url "$2/v1/leaderboard/recent" --feed-accept-encoding gzip \
        --from-addresses 6 --accept-encoding gzip --max-rate 100000 \
        --writers 1 --write-rows 1 --write-interval-ms $((slot * 2500)) --write-url "${origins[$1]}/v1/admin/eval-runs" \
        --change-at $((5 * slot / 2)) --change-url "${origins[$1]}/v1/admin/challenges" >"$work/$1.json"
}
# All clients have got the change; none was answered at once without one; a cache has let one request wait for each state
# and slot: five slots and a change of the board, and five slots and two rows of the feed. The first requests of the
# clients do not wait.
waited() { # NAME
    local name=$1 waits
    waits=$(curl -s "${origins[$1]}/metrics" | awk '/^publisher_waits_total.*(un)?changed/ { all += $2 } END { print all + 0 }')
    python3 - "$name" "$waits" "$work/$name.json" <<'PYTHON' || fail "$name: see above"
import json, sys
name, at_publisher, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
run = json.load(open(path))
roles = [run["pollers"], run["validators"]]
answers = sum(role["answered"] for role in roles)
at_once = sum(role["waits"]["at_once"] for role in roles)
refused = sum(role["waits"]["refused"] for role in roles)
board, feed = [role["news"] for role in roles]
print(f"proxies: {name}: {answers} answers to clients that wait, {at_once} of them at once; {at_publisher} waits at the "
      f"publisher; median to the client: board {board['latency']['p50_ms']:.0f} ms, row {feed['latency']['p50_ms']:.0f} ms")
most = answers if name == "waiting-nginx" else (5 + 1) + (5 + 2)
seen = board["seen"] == 100 and feed["seen"] >= 50
sys.exit(not (0 < at_publisher <= most and at_once == refused == 0 and seen))
PYTHON
}
# The present state comes at once, and no stream makes another one wait.
events() { # NAME PROXY
    local number
    for number in 1 2; do
        (curl -sN -m 2 "$2/api/cathedral/v1/events" >"$work/$1-events-$number" || true) &
        listeners+=($!)
    done
}
# Nothing that a client sends behind its request for events is answered: neither at once, nor while the stream lasts, nor
# behind a refusal, nor behind a body.
behind_events() { # NAME PROXY
    python3 - "${2#http://}" <<'PYTHON' || fail "$1 answers what is behind a request for events"
import socket, sys, time
host, port = sys.argv[1].split(":")
metrics = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
streams = []
def answers(fields, behind, later):
    stream = socket.create_connection((host, int(port)))
    streams.append(stream)
    stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + behind)
    stream.settimeout(0.5)
    seen, until = b"", time.time() + 1
    try:
        time.sleep(0.2)
        stream.sendall(later)
        while time.time() < until and (read := stream.recv(65536)):
            seen += read
    except OSError:
        pass
    return seen
for fields in [b"", b"Connection: keep-alive\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"]:
    for behind, later in [(metrics, b""), (b"", metrics)]:
        seen = answers(fields, behind, later)
        if b"publisher_" in seen or b" 200 " not in seen:
            sys.exit(seen.decode())
# As many as one address may have, so that the last one is refused.
for _ in range(64 - len(streams)):
    streams.append(socket.create_connection((host, int(port))))
    streams[-1].sendall(b"GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n")
time.sleep(1)
last = answers(b"", metrics, metrics)
if b" 503 " not in last:
    sys.exit(last.decode())
length = b"Content-Length: %d\r\n" % len(metrics)
for seen in [last, answers(length, metrics, metrics), answers(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + metrics, b"")]:
    if b"publisher_" in seen:
        sys.exit(seen.decode())
PYTHON
    echo "proxies: $1: nothing behind a request for events is answered"
}
# A restart on the same port in the middle of a slot: 50 clients that wait ask about once a second at most, and all get a
# change soon.
restart() { # NAME PROXY
    sleep "$(python3 -c "import time; print($slot - time.time() % $slot + 0.2)")"
    "$herd" "$2$changes" --wait --json --clients 50 --ramp-ms 500 --duration-secs 11 --from-addresses 3 \
        --change-at 8 --change-url "${origins[$1]}/v1/admin/challenges" >"$work/$1-restart.json" &
    local herd_pid=$!
    sleep 2.5
    kill "${serving[$1]}"
    wait "${serving[$1]}" || true
    serve_waits "$1"
    wait "$herd_pid"
    python3 - "$1" "$work/$1-restart.json" <<'PYTHON' || fail "$1: a restart: see above"
import json, sys
run = json.load(open(sys.argv[2]))["pollers"]
news = run["news"]
print(f"proxies: {sys.argv[1]}: a restart: {run['attempts']} requests of 50 clients in 11 s, {run['statuses']}, "
      f"{sum(run['failures'].get(reason, {}).get('count', 0) for reason in ('refused', 'reset', 'closed', 'truncated'))} connections lost; the change was seen by {news['seen']}, after {news['latency']['max_ms']:.0f} ms at most")
sys.exit(not (run["attempts"] <= 50 * 11 and run["waits"]["most_of_a_client"] <= 11 and news["seen"] == 50
              and news["latency"]["max_ms"] < 2000))
PYTHON
}
# A client that is refused the wait, by a head of 3 kB, neither ends the waits of others, nor sends later ones past the cache.
refused_waits() { # NAME PROXY
    local link path before after
    link=$(curl -s -o /dev/null -D - "$2$changes" | tr -d '\r' | sed -nE 's/^link: <(.*)>.*/\1/Ip')
    path=$changes$link
    local large=(curl -s -o /dev/null -H "Accept-Encoding: gzip" -H "X-Large: $(printf '%03000d' 0)")
    before=$(asked "$1")
    local clients=() _
    # Refused, and not stored; then two more, which may join the waits of others.
    "${large[@]}" "$2$path"
    for _ in 1 2; do "${large[@]}" "$2$path" & clients+=($!); done
    for _ in $(seq 20); do
        curl -s -o /dev/null -w '%{time_total} %header{retry-after}\n' -H 'Accept-Encoding: gzip' "$2$path" >>"$work/$1-refused" & clients+=($!)
    done
    sleep 0.5
    for _ in $(seq 20); do
        curl -s -o /dev/null -w '%{time_total} %header{retry-after}\n' -H 'Accept-Encoding: gzip' "$2$path" >>"$work/$1-refused" & clients+=($!)
    done
    wait "${clients[@]}"
    after=$(asked "$1")
    echo "proxies: $1: 3 refused waits beside 40 others: $((after - before)) requests at the publisher"
    ! grep -q ' [0-9]' "$work/$1-refused" || fail "$1: a client's refusal was given to others"
    [ $((after - before)) -le 30 ] || fail "$1: a refusal sends all waits to the publisher"
}
asked() { curl -s "${origins[$1]}/metrics" | awk '/^publisher_waits_total/ { all += $2 } END { print all + 0 }'; }
declare -A origins waiting serving
listeners=() herds=()
if command -v nginx >/dev/null; then
    waiting_publisher waiting-nginx
    nginx_before waiting-nginx "$port" "/^ *proxy_cache/d"
    waiting[waiting-nginx]=http://127.0.0.1:$proxy
    waiting_publisher waiting-nginx-cache
    nginx_before waiting-nginx-cache "$port" ""
    waiting[waiting-nginx-cache]=http://127.0.0.1:$proxy
fi
if command -v varnishd >/dev/null; then
    waiting_publisher waiting-varnish
    varnish waiting-varnish "$port"
    wait_for "http://127.0.0.1:$proxy$board"
    waiting[waiting-varnish]=http://127.0.0.1:$proxy
fi
for name in "${!waiting[@]}"; do events "$name" "${waiting[$name]}"; done
for pid in "${listeners[@]}"; do wait "$pid"; done
for name in "${!waiting[@]}"; do
    for number in 1 2; do
        grep -q '^event: board' "$work/$name-events-$number" || fail "$name: no event within 2 s: $(cat "$work/$name-events-$number")"
    done
done
# From the beginning of a slot.
sleep "$(python3 -c "import time; print($slot - time.time() % $slot + 0.2)")"
for name in "${!waiting[@]}"; do clients_wait "$name" "${waiting[$name]}" & herds+=($!); done
for pid in "${herds[@]}"; do wait "$pid" || fail "a herd that waits has failed"; done
for name in "${!waiting[@]}"; do waited "$name"; done
for name in "${!waiting[@]}"; do
    behind_events "$name" "${waiting[$name]}"
    [ "$name" = waiting-nginx ] || { refused_waits "$name" "${waiting[$name]}"; restart "$name" "${waiting[$name]}"; }
done

kill "${pids[0]}"
wait "${pids[0]}" || true
for name in "${!proxies[@]}"; do without_publisher "$name" "${proxies[$name]}"; done
for pid in "${outliving[@]}"; do wait "$pid" || fail "a cache does not outlive the publisher: see above"; done
if [ -n "${forgetting:-}" ]; then
    [ -s "$work/forgetting-tag" ] && [[ $(curl -s -o /dev/null -w '%{http_code}' "$forgetting$board") = 503 ]] ||
        fail "varnish serves an answer beyond the time that it may be stale"
    echo "proxies: varnish: no answer is sent that is stale for longer than it may be"
fi
