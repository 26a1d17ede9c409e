#!/usr/bin/env bash
# Checks compose.yaml, kubernetes.yaml and the systemd units of scripts/deploy, runs `demo`, `serve` and `health` in a folder
# that is like the image of the Dockerfile, and tries nginx.conf with three replicas: clients poll through nginx while the
# replicas are restarted one after the other and one is killed, and no client sees an error.
#
#   scripts/deploy.sh [BINARY]
#
# Without BINARY it builds the publisher in release mode. The replicas are three processes over one SQLite file, or over
# the PostgreSQL that PUBLISHER_DATABASE names. Prints SKIPPED for what is not installed: python3-yaml, `docker compose`
# (`config` needs no daemon), kubernetes-validate (of PyPI; `kubectl` checks nothing without a server), systemd-analyze,
# nginx; and for the image if it does not run as root.
set -euo pipefail
[ $# -eq 0 ] || set -- "$(realpath "$1")"
cd "$(dirname "$0")/.."
. scripts/lib.sh
export PUBLISHER_LOG=warn

work=$(mktemp -d)
chmod 755 "$work"
pids=()
end() {
    local pid
    [ ! -e "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT
skip() { echo "deploy: SKIPPED: $1" >&2; }

if python3 -c 'import yaml' 2>/dev/null; then
    python3 - <<'PYTHON'
import re, yaml

options = open("scripts/deploy/OPTIONS.md").read()
compose = yaml.safe_load(open("scripts/deploy/compose.yaml"))
pods = list(yaml.safe_load_all(open("scripts/deploy/kubernetes.yaml")))

def check(condition, what):
    if not condition:
        raise SystemExit(f"deploy: {what}")

def graceful(environment, seconds, what):
    delay = int(environment["PUBLISHER_SHUTDOWN_DELAY_MS"]) / 1000
    check(seconds > delay + 30 + 10, f"{what}: the stop is cut off after {seconds} s")

services = compose["services"]
replicas = [service for name, service in services.items() if name.startswith("publisher")]
check(len(replicas) == 3 and len({service["volumes"][0] for service in replicas}) == 3, "three replicas, three volumes")
for name, service in services.items():
    for kind in "secrets", "configs":
        for used in service.get(kind, []):
            used = used if isinstance(used, str) else used["source"]
            check(used in compose[kind], f"compose.yaml: {name} uses the unknown {used}")
    for volume in service.get("volumes", []):
        volume = volume.split(":")[0]
        check(volume.startswith("./") or volume in compose["volumes"], f"compose.yaml: unknown volume {volume}")
    for other in service.get("depends_on", []):
        check(other in services, f"compose.yaml: {name} depends on the unknown {other}")
graceful(replicas[0]["environment"], int(replicas[0]["stop_grace_period"].rstrip("s")), "compose.yaml")

deployment = next(it for it in pods if it["kind"] == "Deployment")["spec"]
pod = deployment["template"]["spec"]
container = pod["containers"][0]
environment = {it["name"]: it["value"] for it in container["env"]}
graceful(environment, pod["terminationGracePeriodSeconds"], "kubernetes.yaml")
labels = deployment["template"]["metadata"]["labels"].items()
for it in pods[1:]:
    spec = it["spec"]
    chosen = spec.get("podSelector", spec.get("selector"))
    chosen = chosen.get("matchLabels", chosen)
    check(chosen.items() <= labels, f"kubernetes.yaml: {it['kind']} {it['metadata']['name']} chooses no pod")
ports = {port["name"] for port in container["ports"]}
for probe in "startupProbe", "livenessProbe", "readinessProbe":
    check(container[probe]["httpGet"]["port"] in ports, f"kubernetes.yaml: {probe}")
volumes = {volume["name"] for volume in pod["volumes"]}
check({mount["name"] for mount in container["volumeMounts"]} == volumes, "kubernetes.yaml: volumes")

names = set(environment) | set(replicas[0]["environment"])
unknown = [name for name in names if f"`{name}`" not in options]
check(not unknown, f"options that the program does not have: {unknown}")
print("deploy: compose.yaml and kubernetes.yaml name what exists")
PYTHON
else
    skip "python3-yaml is not installed, so compose.yaml and kubernetes.yaml were not read"
fi
if docker compose version >/dev/null 2>&1; then
    mkdir "$work/compose" && cp scripts/deploy/compose.yaml "$work/compose"
    docker compose --file "$work/compose/compose.yaml" config --quiet && echo "deploy: docker compose accepts compose.yaml"
else
    skip "docker compose is not installed, so compose.yaml was only read as YAML"
fi
if python3 -c 'import kubernetes_validate' 2>/dev/null; then
    python3 -c '
import kubernetes_validate, yaml
for it in yaml.safe_load_all(open("scripts/deploy/kubernetes.yaml")):
    kubernetes_validate.validate(it, "1.32", strict=True)
print("deploy: kubernetes.yaml is valid for Kubernetes 1.32")'
else
    skip "kubernetes-validate is not installed, so kubernetes.yaml was only read as YAML"
fi

publisher=${1:-${CARGO_TARGET_DIR:-$PWD/target}/release/cathedral-publisher}
[ $# -gt 0 ] || cargo build --release --locked --quiet

if command -v systemd-analyze >/dev/null; then
    mkdir "$work/units" && cp scripts/deploy/cathedral-publisher*.{service,socket} "$work/units"
    # The only file that a machine without the program lacks.
    sed -i "s#/usr/local/bin/cathedral-publisher#$publisher#" "$work/units/cathedral-publisher.service"
    said=$(systemd-analyze verify --man=no "$work"/units/* 2>&1) && [ -z "$said" ] || fail "systemd-analyze verify: $said"
    echo "deploy: systemd-analyze finds nothing in the units"
else
    skip "systemd-analyze is not installed, so the units were not checked"
fi

# The files of the image, and the libraries that the static program of the Dockerfile does not need.
image() {
    local image=$work/image port command library environment in_image pid
    mkdir -p "$image/data" "$image/tmp"
    chown 65532:65532 "$image/data" "$image/tmp"
    chmod 1777 "$image/tmp"
    cp "$publisher" "$image/cathedral-publisher"
    chmod 755 "$image" "$image/cathedral-publisher"
    for library in $(ldd "$publisher" | grep -o '/[^ ]*'); do cp --parents -L "$library" "$image"; done
    mapfile -t environment < <(sed -n '/^ENV /,/[^\\]$/p' scripts/deploy/Dockerfile | grep -oE '[A-Z_]+=[^ \\]+')
    [ ${#environment[@]} -ge 5 ] || fail "the variables of the Dockerfile were not found"
    for command in demo serve; do
        port=$(free_port)
        in_image=(env -i "${environment[@]}" "PORT=$port" "$(command -v chroot)" --userspec=65532:65532 "$image" /cathedral-publisher)
        ! "${in_image[@]}" health >/dev/null 2>&1 || fail "image: health is 0 before $command runs"
        "${in_image[@]}" $command --log-level warn >"$work/image-$command" 2>&1 &
        pid=$!
        pids[10]=$pid
        for _ in $(seq 200); do ! "${in_image[@]}" health >"$work/image-health" 2>&1 || break; sleep 0.1; done
        "${in_image[@]}" health >/dev/null || fail "image: $command: $(cat "$work/image-health" "$work/image-$command")"
        wait_for "http://127.0.0.1:$port/v1/synthetic-boolean/active-challenges"
        kill $pid
        wait $pid || fail "image: $command ended with exit code $?: $(cat "$work/image-$command")"
    done
    [ -e "$image/data/publisher.db" ] && [ -z "$(ls -A "$image/tmp")" ] || fail "image: files: $(ls -R "$image/data" "$image/tmp")"
    echo "deploy: demo, serve and health work in a folder like the image"
}
if [ "$(id -u)" = 0 ]; then
    image
else
    skip "not root, so the image was not tried"
fi

command -v nginx >/dev/null || { skip "nginx is not installed"; exit 0; }
export PUBLISHER_DATABASE=${PUBLISHER_DATABASE:-$work/a.db}
"$publisher" sample board --count 51 | "$publisher" import board - >/dev/null
"$publisher" sample rows --count 500 | "$publisher" import rows - >/dev/null

ports=("$(free_port)" "$(free_port)" "$(free_port)")
start() { # NUMBER
    "$publisher" serve --address "127.0.0.1:${ports[$1]}" --trusted-proxies 127.0.0.1 --wait-slot-secs 1 2>>"$work/log" &
    pids[$1]=$!
    wait_for "http://127.0.0.1:${ports[$1]}/health/ready"
}
for replica in 0 1 2; do start $replica; done

proxy=$(free_port)
cat >"$work/nginx.conf" <<NGINX
pid $work/nginx.pid;
error_log $work/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
    $(sed "s/#replicas //; s/127\.0\.0\.1:8080/127.0.0.1:${ports[0]}/; s/127\.0\.0\.2:8080/127.0.0.1:${ports[1]}/
           s/127\.0\.0\.3:8080/127.0.0.1:${ports[2]}/; s#/var/cache/cathedral-publisher#$work/cache#; s/listen 8090/listen 127.0.0.1:$proxy/" scripts/deploy/nginx.conf)
}
NGINX
nginx -c "$work/nginx.conf" -e "$work/nginx.log"
wait_for "http://127.0.0.1:$proxy/v1/synthetic-boolean/active-challenges"

# Clients poll, with and without a tag, pull the feed and wait for changes, each request on a new connection or an old one.
python3 - "$proxy" "$work/stop" >"$work/clients" <<'PYTHON' &
import collections, http.client, os, random, sys, threading

port, stop = int(sys.argv[1]), sys.argv[2]
board = "/v1/synthetic-boolean/active-challenges"
paths = [board, board + "/changes", "/v1/leaderboard/recent?since_seq=0", "/v1/synthetic-boolean/current-challenge"]
seen = collections.Counter()

def client(number):
    connection, tag = None, {}
    pick = random.Random(number)
    while not os.path.exists(stop):
        path = pick.choice(paths)
        try:
            if connection is None or pick.random() < 0.2:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            fields = {"Accept-Encoding": pick.choice(["gzip", "br, zstd, gzip", "identity"])}
            if path in tag and pick.random() < 0.8:
                fields["If-None-Match"] = tag[path]
            connection.request(pick.choice(["GET", "GET", "HEAD"]), path, headers=fields)
            answer = connection.getresponse()
            answer.read()
            seen[answer.status] += 1
            if answer.status == 200:
                tag[path] = answer.headers["etag"]
        except Exception as error:
            connection = None
            seen[repr(error)] += 1

threads = [threading.Thread(target=client, args=[number]) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(dict(seen))
sys.exit(set(seen) - {200, 304} != set())
PYTHON
clients=$!
for round in 1 2; do
    for replica in 0 1 2; do
        kill "${pids[$replica]}"
        wait "${pids[$replica]}" || fail "a replica ended with exit code $?"
        start $replica
        sleep 0.3
    done
done
kill -9 "${pids[1]}"
wait "${pids[1]}" 2>/dev/null || true
sleep 1
start 1
touch "$work/stop"
wait "$clients" || { tail -5 "$work/nginx.log" >&2; fail "clients saw $(cat "$work/clients")"; }
echo "deploy: behind nginx, six restarts and one kill -9 of three replicas: $(cat "$work/clients")"
