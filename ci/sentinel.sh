#!/usr/bin/env bash
# sentinel.sh [ROUNDS [MIX…]]: three of Debian's Sentinels watch a master with replicas, ours alone and mixed
# with Redis (a mix is three kinds: "varve redis varve"); the master is killed, somebody takes over, the old
# master comes back as a replica and goes on where it was. What `WAIT 1` counted is still there. Each Sentinel
# finds the master down after another time, the last after $down_after ms: with equal times all three
# often stand for election at the same moment, vote for themselves, and wait for twice failover-timeout
# before they try again, whoever it is that they watch.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-2}
if [ $# -gt 1 ]; then mixes=("${@:2}"); else mixes=("varve varve varve" "varve redis varve"); fi
down_after=1800 failover_timeout=5000
. ci/servers.sh
declare -A kind pid
run() { # run KIND PORT
    local common=(--port "$2" --dir "$folder/$2" --save "" --repl-diskless-sync-delay 0 --repl-backlog-size 16mb)
    mkdir -p "$folder/$2"; touch "$folder/$2.conf"
    case $1 in
    redis) redis-server "$folder/$2.conf" "${common[@]}" --appendonly no "${@:3}" >>"$folder/$2.log" 2>&1 & ;;
    varve) "$VARVE" "$folder/$2.conf" "${common[@]}" --appendonly no "${@:3}" >>"$folder/$2.log" 2>&1 & ;;
    esac
    pid[$2]=$!; kind[$2]=$1; pids+=($!); disown
    wait_for "$1 at $2 serves" answers "$2"
}
master_now() { redis-cli -p "${sentinels[0]}" SENTINEL GET-MASTER-ADDR-BY-NAME it | tail -1; }
moved() { local now; now=$(master_now); [ "$now" != "$1" ] && [ "$(info "$now" role)" = master ]; }
settled() { # the others follow the master
    local now; now=$(master_now)
    for one in "${servers[@]}"; do
        [ "$one" = "$now" ] || { [ "$(info "$one" master_port)" = "$now" ] && is_up "$one"; } || return 1
    done
    redis-cli -p "${sentinels[0]}" SENTINEL CKQUORUM it | grep -q ^OK
}
# A Sentinel that was not run for two seconds, on a busy machine, does nothing for thirty (TILT).
tilts() { cat "$folder"/sentinel-*.log | grep -c -e +tilt || true; }
awake() {
    for one in "${sentinels[@]}"; do redis-cli -p "$one" INFO sentinel | grep -q ^sentinel_tilt:0 || return 1; done
}
splits() { cat "$folder"/sentinel-*.log | grep -c -e -failover-abort-not-elected || true; }
known() { [ "$(redis-cli -p "${sentinels[0]}" SENTINEL REPLICAS it | grep -c '^runid$')" -ge $((${#servers[@]} - 1)) ]; }

for mix in "${mixes[@]}"; do
    servers=() sentinels=()
    for each in $mix; do
        port=$(free_port)
        if [ ${#servers[@]} = 0 ]; then run "$each" "$port"; else run "$each" "$port" --replicaof 127.0.0.1 "${servers[0]}"; fi
        servers+=("$port")
    done
    for one in "${servers[@]:1}"; do wait_for "$one follows" is_up "$one"; done
    for after in 1000 1400 "$down_after"; do
        port=$(free_port)
        {
            echo "port $port"; echo "dir $folder"
            echo "sentinel monitor it 127.0.0.1 ${servers[0]} 2"
            echo "sentinel down-after-milliseconds it $after"
            echo "sentinel failover-timeout it $failover_timeout"
        } >"$folder/sentinel-$port.conf"
        redis-server "$folder/sentinel-$port.conf" --sentinel >"$folder/sentinel-$port.log" 2>&1 &
        pids+=($!); disown; sentinels+=("$port")
        wait_for "a sentinel serves" answers "$port"
    done
    wait_for "the sentinels agree" settled
    wait_for "the sentinels know everybody" known
    for round in $(seq "$rounds"); do
        master=$(master_now)
        counted=0
        for i in $(seq 50); do
            n=$(printf 'SET kept-%s-%s 1\nWAIT 1 500\n' "$round" "$i" | redis-cli -p "$master" | tail -1)
            [ "$n" -ge 1 ] && counted=$i
        done
        [ "$counted" -ge 1 ] || fail "no replica counted"
        wait_for "the sentinels look" awake
        kill -9 "${pid[$master]}"; gone() { ! kill -0 "${pid[$master]}" 2>/dev/null; }; wait_for "$master is gone" gone
        began=$(date +%s%N) before=$(splits) tilted=$(tilts)
        wait_for "somebody takes over from $master" moved "$master"
        took=$((($(date +%s%N) - began) / 1000000))
        limit=$((down_after + 5000)) split=""
        if [ "$(splits)" -gt "$before" ]; then
            split=", after a split vote" limit=$((limit + 2 * failover_timeout + 2000))
        fi
        if [ "$(tilts)" -gt "$tilted" ]; then split="$split, after a stall of the machine: not judged" limit=$took; fi
        [ $took -le $limit ] || fail "it took $took ms$split"
        new=$(master_now)
        for i in $(seq $counted); do
            [ "$(redis-cli -p "$new" GET "kept-$round-$i")" = 1 ] || fail "kept-$round-$i is lost"
        done
        run "${kind[$master]}" "$master"
        wait_for "the old master follows" settled
        wait_for "the sentinels know everybody" known
        echo "--- $mix: round $round: $master (${kind[$master]}) -> $new (${kind[$new]}) in $took ms$split"
    done
    for one in "${servers[@]}"; do kill -9 "${pid[$one]}"; done
done
