#!/usr/bin/env bash
# Checks that the server does what /openapi.json says: Schemathesis generates requests from it and looks for
# contradictions.
#
#   scripts/contract.sh [BINARY]        EXAMPLES=50 requests per operation
#
# Without BINARY it builds the publisher in release mode. Prints SKIPPED and succeeds if pip cannot install Schemathesis.
set -euo pipefail
[ $# -eq 0 ] || set -- "$(realpath "$1")"
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
if ! { python3 -m venv "$work/python" && "$work/python/bin/pip" install --quiet schemathesis==4.32.5; } >"$work/pip.log" 2>&1; then
    echo "contract: SKIPPED: schemathesis cannot be installed here" >&2
    exit 0
fi

publisher=${1:-${CARGO_TARGET_DIR:-$PWD/target}/release/cathedral-publisher}
[ $# -gt 0 ] || cargo build --release --locked --quiet
"$publisher" sample board --count 51 >"$work/board"
"$publisher" import board "$work/board" --database "$work/a.db" >/dev/null
"$publisher" sample rows --count 300 | "$publisher" import rows - --database "$work/a.db" >/dev/null
"$publisher" sample jwks >"$work/jwks"
PUBLISHER_ADMIN_TOKEN=$(head -c 24 /dev/urandom | base64)
export PUBLISHER_ADMIN_TOKEN
"$publisher" serve --database "$work/a.db" --jwks "$work/jwks" --address 127.0.0.1:0 2>"$work/log" &
server=$!
until url=$(sed -n 's|.* on \(http://[0-9.:]*\)$|\1|p' "$work/log") && [ -n "$url" ]; do
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.05
done

# OpenAPI cannot express some rules: a page needs one of two cursors, a difficulty needs a tier, the id in the
# path and in the body must be equal, a precondition may fail. Requests that match the schema but break such
# a rule may be rejected.
cat >"$work/schemathesis.toml" <<'TOML'
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 401, 404, 409, 412, 422, 429]
TOML
# It would read the endless stream of /v1/events to its end: tests/publisher/events.rs reads it.
# Schemathesis leaves files in the current folder.
cd "$work"
"$work/python/bin/schemathesis" --config-file "$work/schemathesis.toml" run "$url/openapi.json" \
    --exclude-path /v1/events \
    --header "Authorization: Bearer $PUBLISHER_ADMIN_TOKEN" --seed 1 --max-examples "${EXAMPLES:-50}"
