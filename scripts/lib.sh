# Functions of several scripts, which read this file from the project's root: `. scripts/lib.sh`.

# Ends the script with a message.
fail() { echo "$(basename "$0" .sh): $1" >&2; exit 1; }

# Prints a port of 127.0.0.1 that nobody listens on at this moment.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits up to 20 s until a URL answers with success.
wait_for() {
    for _ in $(seq 400); do curl -sf -o /dev/null "$1" && return; sleep 0.05; done
    fail "$1 does not answer"
}
