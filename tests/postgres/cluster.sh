# Signals to all processes of a cluster: sh -c "$(cat cluster.sh)" sh ACTION FOLDER [SIGNAL], as the cluster's user.
#
# They are those whose working directory is the data folder: so children whose postmaster is gone are found, too.
folder=$2 signal=$3

processes() {
    for process in /proc/[0-9]*; do
        if [ "$process/cwd" -ef "$folder/data" ]; then echo "${process#/proc/}"; fi
    done
}

# The number in the file may be that of another process by now.
postmaster() {
    pid=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)
    if [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$folder/data" ]; then echo "$pid"; fi
}

# The postmaster is stopped first, so that it starts no further process.
kill_all() {
    kill -STOP $(postmaster) 2>/dev/null
    while pids=$(processes); [ -n "$pids" ]; do kill -KILL $pids 2>/dev/null; done
}

case $1 in
signal)
    kill "-$signal" $(postmaster) 2>/dev/null
    kill "-$signal" $(processes) 2>/dev/null
    ;;
kill)
    kill_all
    ;;
watch)
    # Standard input ends when the test process does, however it ends. Ctrl-C reaches that process only.
    trap '' INT TERM HUP
    cat >/dev/null
    kill -CONT $(processes) 2>/dev/null
    kill -QUIT $(postmaster) 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if [ -z "$(processes)" ]; then break; fi
        sleep 0.05
    done
    kill_all
    # What a killed postmaster has left: its seventh line names a segment of shared memory.
    if [ -e "$folder/data/postmaster.pid" ]; then
        sed -n '7s/^ *[0-9]* *//p' "$folder/data/postmaster.pid" | xargs -r ipcrm -m 2>/dev/null
    fi
    rm -rf "$folder"
    ;;
esac
exit 0
