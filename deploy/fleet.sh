# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Functions for a small fleet of emulated hosts in one folder, to be sourced:
#   fleet=FOLDER bin=FOLDER-OF-PROGRAMS hosts=FOLDER-OF-HOST-FILES
#   [store="{etcd: {endpoints: [...]}}"] [agent_parent=supervise]
#   start_controller; start_agent NAME...; await_hosts NAME...; stop_fleet
# Every process of the fleet has a path below $fleet among its arguments: that is how it is found
# again, also the emulators, which outlive the agents that start them.

fleet=${fleet:?} bin=${bin:?} hosts=${hosts:?}
[[ -n "${store:-}" ]] || store='{sqlite: {path: store.db}}'

complain() { echo "${0##*/}: $*" >&2; }

# Prints the process ids of the programs that are named, or of all of the fleet.
fleet_pids() {
  local wanted=${1:-berth-agent berth-controller berth-emulator berth-example-vmm}
  local process argument arguments name
  for process in /proc/[0-9]*; do
    mapfile -d '' -t arguments 2>/dev/null <"$process/cmdline" || continue
    ((${#arguments[@]} > 0)) || continue
    name=${arguments[0]##*/}
    [[ " $wanted " == *" $name "* ]] || continue
    for argument in "${arguments[@]:1}"; do
      if [[ "$argument" == "$fleet"/* ]]; then
        echo "${process#/proc/}"
        break
      fi
    done
  done
  # What start() has just forked does not bear its program's name yet.
  if [[ " $wanted " == *" berth-agent "* ]]; then jobs -pr; fi
}

# start PROGRAM NAME [ARGUMENT...]: in a session of its own, so that Ctrl-C reaches only the script.
start() {
  setsid "$bin/$1" "${@:3}" --config "$fleet/$2.yaml" >"$fleet/$2.log" 2>&1 </dev/null &
}

# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

serving() {
  [[ "$(<"$fleet/controller.log")" =~ serving\ api=([^[:space:]]+)\ agents=([^[:space:]]+) ]]
}

# Sets api and agents, the addresses that the controller has taken.
# Where api and agents say, if they do.
start_controller() {
  cat >"$fleet/controller.yaml" <<YAML
api: {address: "${api:-127.0.0.1:0}"}
agent_link: {address: "${agents:-127.0.0.1:0}"}
store: $store
cluster_key_file: cluster.key
YAML
  : >"$fleet/controller.log"
  start berth-controller controller
  until_true 30 serving || { complain "the controller does not come up"; return 1; }
  api=${BASH_REMATCH[1]} agents=${BASH_REMATCH[2]}
}

start_agent() {
  local host
  for host in "$@"; do
    cat >"$fleet/$host.yaml" <<YAML
host_id: $host
runtime_dir: "$fleet/$host"
state_dir: "$fleet/$host/state"
backend: {emulated: {host_file: "$hosts/$host.yaml"}}
controller: {addresses: ["$agents"]}
inventory: {observe_vintfs: true}
YAML
    start berth-agent "$host" ${agent_parent:+"$agent_parent"}
  done
}

host_ready() { "$bin/berthctl" --server "$api" wait hosts "$1" --for ready >/dev/null 2>&1; }

await_hosts() {
  local host
  for host in "$@"; do
    until_true 60 host_ready "$host" || { complain "host $host does not become ready"; return 1; }
  done
}

none_left() { [[ -z "$(fleet_pids "$@")" ]]; }

# First those that hold something, then what stands for their hardware.
stop_fleet() {
  local programs pids
  for programs in "berth-example-vmm" "berth-agent berth-controller" "berth-emulator"; do
    mapfile -t pids < <(fleet_pids "$programs")
    ((${#pids[@]} > 0)) || continue
    kill "${pids[@]}" 2>/dev/null || true
    until_true 10 none_left "$programs" && continue
    mapfile -t pids < <(fleet_pids "$programs")
    complain "does not end by itself: process ${pids[*]} ($programs)"
    kill -KILL "${pids[@]}" 2>/dev/null || true
    until_true 5 none_left "$programs" || return 1
  done
}
