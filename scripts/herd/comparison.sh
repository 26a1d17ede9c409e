#!/usr/bin/env bash
# Compares herd with other load generators on the same servers in the same run, and shows who notices a stall.
#
#   scripts/herd/comparison.sh          ROUNDS=3 ROUND_SECONDS=2 OUT=target/comparison
#                                       HERD=… PUBLISHER=…   programs that are built already
#                                       OHA=… AUTOCANNON=…   if they are not in PATH
#
# Needs nginx and jq; takes every generator that it finds: wrk, hey, h2load (nghttp2-client), oha, autocannon.
#
# nginx     one worker, a file of 1 kB
# publisher the board, answered by 304
#
# At a fixed rate every generator has 64 connections and two threads, if it can have them. Each round runs all generators one after the
# other, so that what else the machine does meets all of them; figures are medians of the rounds. wrk has no fixed rate:
# it takes part in the closed loop only, in which each connection sends the next request after a response.
#
# The stall: nginx is stopped (SIGSTOP) for one second of four, at 1,000 requests per second. A quarter of the requests
# is due meanwhile and waits between 0 and 1 s, so that p90 is 600 ms and p99 is 960 ms. A generator that sends nothing
# while it waits, and measures from the time of sending, reports neither (coordinated omission).
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib.sh

rounds=${ROUNDS:-3}
seconds=${ROUND_SECONDS:-2}
out=${OUT:-target/comparison}
connections=64
if [ -z "${HERD:-}" ]; then
    cargo build --release --locked --quiet
    cargo build --release --locked --quiet -p herd --bin herd
fi
herd=${HERD:-target/release/herd}
publisher=${PUBLISHER:-target/release/cathedral-publisher}
oha=${OHA:-oha}
autocannon=${AUTOCANNON:-autocannon}
mkdir -p "$out"
rm -f "$out"/*.figures
work=$(mktemp -d)
chmod 755 "$work"
nginx= server=
finish() {
    for pid in $nginx $server; do kill -CONT "$pid" 2>/dev/null || true; kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT


port=$(free_port)
head -c 1024 /dev/urandom | base64 -w 0 | head -c 1024 >"$work/file.txt"
cat >"$work/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $work/nginx.pid; error_log $work/error.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; server { listen 127.0.0.1:$port; root $work; } }
CONF
nginx -c "$work/nginx.conf" 2>/dev/null &
nginx=$!
export PUBLISHER_LOG=error
"$publisher" sample board --count 50 | "$publisher" import board - --database "$work/data.db" >/dev/null
board_port=$(free_port)
"$publisher" serve --database "$work/data.db" --address "127.0.0.1:$board_port" 2>"$work/publisher.log" &
server=$!
file=http://127.0.0.1:$port/file.txt
board=http://127.0.0.1:$board_port/v1/synthetic-boolean/active-challenges
for url in "$file" "$board"; do
    curl --silent --fail --retry 50 --retry-connrefused --retry-delay 0 --retry-max-time 20 --output /dev/null "$url"
done
tag=$(curl --silent --head "$board" | tr -d '\r' | sed -n 's/^etag: //Ip')

# Processor time of a process and its children so far, in microseconds.
cpu_of() {
    local pids=$1 pid ticks=0 fields
    pids+=" $(pgrep -P "$1" || true)"
    for pid in $pids; do
        fields=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) || continue
        # shellcheck disable=SC2086
        set -- $fields
        ticks=$((ticks + ${12} + ${13}))
    done
    echo $((ticks * 1000000 / $(getconf CLK_TCK)))
}

# Quantiles of one latency per line, in milliseconds: p50 p90 p99 max.
quantiles() {
    sort -n | awk '{ value[NR] = $1 } END {
        if (NR == 0) exit 1
        n = split("0.5 0.9 0.99 1", share, " ")
        for (i = 1; i <= n; i++) { at = int(share[i] * NR); if (at < share[i] * NR) at++; printf "%s ", value[at] }
    }'
}

# Prints: requests p50 p90 p99 max (milliseconds). A rate of 0 is a closed loop.
measure() { # TOOL URL RATE SECONDS
    local tool=$1 url=$2 rate=$3 for=$4 own fields=() to=$work/$1
    [ "$url" = "$board" ] && [ "$tool" != herd ] && fields=(-H "If-None-Match: $tag")
    case $tool in
    herd)
        if [ "$rate" = 0 ]; then own=(--interval-ms 0 --ramp-ms 0); else own=(--rate "$rate" --jitter-percent 0); fi
        "$herd" "$url" --clients $connections --max-connections $connections --max-rate 1000000 --duration-secs "$for" \
            --timeout-ms 20000 --json "${own[@]}" >"$to"
        jq -r '.pollers | [.attempts, .latency.p50_ms, .latency.p90_ms, .latency.p99_ms, .latency.max_ms] | @tsv' "$to"
        ;;
    oha)
        own=()
        [ "$rate" = 0 ] || own=(-q "$rate" --latency-correction)
        "$oha" --no-tui --output-format json -c $connections -z "${for}s" -w "${fields[@]}" "${own[@]}" "$url" >"$to"
        jq -r --argjson for "$for" '[([.statusCodeDistribution[]] | add)] +
            [.latencyPercentiles.p50, .latencyPercentiles.p90, .latencyPercentiles.p99, .summary.slowest | . * 1000] | @tsv' "$to"
        ;;
    hey)
        own=()
        [ "$rate" = 0 ] || own=(-q "$(awk "BEGIN { print $rate / $connections }")")
        hey -o csv -c $connections -z "${for}s" "${fields[@]}" "${own[@]}" "$url" >"$to"
        awk -F, 'NR > 1 { print $1 * 1000 }' "$to" >"$to.ms"
        echo "$(wc -l <"$to.ms") $(quantiles <"$to.ms")"
        ;;
    h2load)
        own=()
        [ "$rate" = 0 ] || own=(--rps "$(awk "BEGIN { print $rate / $connections }")")
        rm -f "$to.log"
        h2load --h1 -c $connections -t 2 -D "$for" --log-file "$to.log" "${fields[@]}" "${own[@]}" "$url" >"$to"
        awk '{ print $3 / 1000 }' "$to.log" >"$to.ms"
        echo "$(wc -l <"$to.ms") $(quantiles <"$to.ms")"
        ;;
    autocannon)
        own=()
        # Each of its two workers sends at the whole rate that it is given.
        [ "$rate" = 0 ] || own=(-R $((rate / 2)))
        "$autocannon" --json -n -w 2 -c $connections -d "$for" "${fields[@]/: /=}" "${own[@]}" "$url" >"$to" 2>/dev/null
        jq -r '[.requests.total, .latency.p50, .latency.p90, .latency.p99, .latency.max] | @tsv' "$to"
        ;;
    wrk)
        wrk --latency -t 2 -c $connections -d "$for" --timeout 20 "${fields[@]}" "$url" >"$to"
        awk 'function ms(text) {
                if (text ~ /us$/) return text / 1000; if (text ~ /ms$/) return text + 0; return text * 1000
             }
             $1 == "Latency" && $2 != "Distribution" { max = ms($4) }
             $1 == "50%" { p50 = ms($2) } $1 == "90%" { p90 = ms($2) } $1 == "99%" { p99 = ms($2) }
             $2 == "requests" { requests = $1 }
             END { print requests, p50, p90, p99, max }' "$to"
        ;;
    esac
}

tools=herd
for tool in "$oha" wrk hey h2load "$autocannon"; do
    command -v "$tool" >/dev/null && tools+=" $(basename "$tool")"
done

figures_of() { echo "$out/${1//[^a-z0-9]/_}.$2.figures"; } # CASE TOOL

# Runs a generator; adds a line to the figures of this case: requests p50 p90 p99 max server-cpu own-cpu.
run() { # CASE PID TOOL URL RATE SECONDS
    local before after figures own
    before=$(cpu_of "$2")
    TIMEFORMAT='%U %S'
    { time measure "$3" "$4" "$5" "$6" >"$work/figures" 2>"$work/errors"; } 2>"$work/time" || { cat "$work/errors" >&2; return; }
    after=$(cpu_of "$2")
    figures=$(tr '\t\n' '  ' <"$work/figures")
    own=$(awk '{ print ($1 + $2) * 1e6 }' "$work/time")
    echo "$figures $((after - before)) $own" >>"$(figures_of "$1" "$3")"
}

medians() { # FILE, prints the median of each column
    awk '{ for (i = 1; i <= NF; i++) value[i, NR] = $i; columns = NF }
    END { for (i = 1; i <= columns; i++) {
            for (j = 1; j <= NR; j++) for (k = j + 1; k <= NR; k++)
                if (value[i, k] + 0 < value[i, j] + 0) { swap = value[i, j]; value[i, j] = value[i, k]; value[i, k] = swap }
            printf "%s ", value[i, int((NR + 1) / 2)] } }' "$1"
}

# Name, server, URL, rate.
cases=(
    "nginx, 1,000/s|$nginx|$file|1000"
    "nginx, 10,000/s|$nginx|$file|10000"
    "nginx, 50,000/s|$nginx|$file|50000"
    "publisher, 10,000/s|$server|$board|10000"
    "nginx, closed loop|$nginx|$file|0"
)
for _ in $(seq "$rounds"); do
    for case in "${cases[@]}"; do
        IFS='|' read -r name pid url rate <<<"$case"
        for tool in $tools; do
            [ "$tool" = wrk ] && [ "$rate" != 0 ] && continue
            run "$name" "$pid" "$tool" "$url" "$rate" "$seconds"
        done
    done
done
for tool in $tools; do
    worker=$(pgrep -P "$nginx")
    (sleep 1.5; kill -STOP "$worker"; sleep 1; kill -CONT "$worker") &
    stall=$!
    rate=1000
    [ "$tool" = wrk ] && rate=0
    run stall "$nginx" "$tool" "$file" $rate 4
    wait $stall
done

model=$(sed -n 's/^model name\t: //p' /proc/cpuinfo | head -1)
{
    echo "$(nproc) cores of $model, kernel $(uname -r); servers and generators share the cores"
    echo "$rounds interleaved rounds of $seconds s, medians; $connections connections; the tools' CPU includes the reading of their logs"
    printf '\n%-20s %-11s %11s %10s %10s %10s %10s %12s %12s\n' "server, rate" generator requests/s "p50 ms" "p90 ms" "p99 ms" "max ms" "server µs" "own µs"
    for case in "${cases[@]}" "the server stalls|||"; do
        name=${case%%|*} for=$seconds of=${case%%|*}
        [ "$name" = "the server stalls" ] && for=4 of=stall
        for tool in $tools; do
            [ -f "$(figures_of "$of" "$tool")" ] || continue
            medians "$(figures_of "$of" "$tool")" | awk -v name="$name" -v tool="$tool" -v seconds="$for" '{
                printf "%-20s %-11s %11.0f %10.2f %10.2f %10.2f %10.1f %12.1f %12.1f\n",
                    name, tool, $1 / seconds, $2, $3, $4, $5, $6 / $1, $7 / $1 }'
            name=
        done
    done
    echo
    echo "server µs, own µs: processor time per request, of the server and of the generator"
    echo "the server stalls: for one second of four, at 1,000/s; wrk in a closed loop. Right: p90 600 ms, p99 960 ms."
} | tee "$out/comparison.txt"
