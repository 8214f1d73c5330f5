# SPDX-License-Identifier: Apache-2.0
"""agent_restart: an agent that is killed again and again beside attached VMMs.

All VINTFs of a unit are taken: each VMM holds one, and one of them invalidates all the time and
calls its agent. It ends with an error at the first command that is not executed, and at the first
call without an answer.
"""

import json
import os
import re
import signal
import subprocess
import time

GRANTS = 63
SPEC = """name: assignments/{name}
spec:
  device_requests:
    - {{name: nic, class: nic, count: 1, queues: {{need: REQUIRED, count: 1}}}}
"""
READY = " info ready"


def attach(fleet, number):
    """The command of a VMM with an assignment of its own."""
    name = f"vm{number}"
    file = fleet.folder / f"{name}.yaml"
    file.write_text(SPEC.format(name=name))
    return [fleet.bin / "berth-example-vmm", *fleet.assign(file, name), "--memory", "16M"]


def start(command):
    """A VMM that says when it is where it wants to be."""
    vmm = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True)
    if vmm.stdout.readline() != "holding\n":
        raise OSError("a VMM does not come up")
    return vmm


def _invalidate(command, work):
    """What the guest says of its batches, during `work`."""
    vmm = start([*command, "--bench", "continuity"])
    work()
    out, _ = vmm.communicate()
    if vmm.returncode != 0:
        raise OSError("the guest has lost a command, or a call has failed")
    return json.loads(out)


def agent_of(parent):
    """The child of `berth-agent supervise`; 0: none now."""
    children = open(f"/proc/{parent}/task/{parent}/children").read().split()
    return int(children[0]) if children else 0


def parent_of(fleet):
    """`berth-agent supervise` of the only host."""
    return min(int(pid) for pid in fleet.shell("fleet_pids berth-agent").split())


class _Killer:
    def __init__(self, fleet, kills):
        self.log = fleet.folder / "sriov.log"
        self.parent = parent_of(fleet)
        self.kills = kills
        self.samples = []

    def _ready(self):
        return len(re.findall(READY, self.log.read_text()))

    def __call__(self):
        for _ in range(self.kills):
            before = self._ready()
            start = time.monotonic()
            os.kill(agent_of(self.parent), signal.SIGKILL)
            while self._ready() == before:
                if time.monotonic() > start + 30:
                    raise OSError("the agent does not come back")
                time.sleep(0.001)
            self.samples.append((time.monotonic() - start) * 1000)
            # So that what was to be done after the start is done.
            time.sleep(0.1)


def measure(fleet, kills, line):
    commands = [attach(fleet, number) for number in range(GRANTS)]
    holders = [start([*command, "--hold", "--repeat", "1", "--trace",
                       fleet.bin.parent / "share/berth/traces/map_unmap_ats"])
               for command in commands[1:]]
    killer = _Killer(fleet, kills)
    baseline = _invalidate(commands[0], lambda: time.sleep(0.2 * kills))
    struck = _invalidate(commands[0], killer)
    for holder in holders:
        holder.communicate()
        if holder.returncode != 0:
            raise OSError("a VMM that held has failed")
    # Commands that were sent, less those of the batches whose CMD_SYNC was seen executed.
    sent = struck["tlbi_nh_asid"] + struck["cmd_sync"]
    lost = sent - struck["batches"] * (sent // struck["cmd_sync"])
    samples = sorted(killer.samples)
    p50, p99 = samples[len(samples) // 2], samples[len(samples) * 99 // 100]
    yield line("agent_restart", "ms", round(p50, 1), round(p50, 1), round(p99, 1), grants=GRANTS,
               kills=kills, lost=lost, batches=struck["batches"], calls=struck["calls"],
               p999_ms=round(struck["p999_us"] / 1000, 3),
               baseline_p999_ms=round(baseline["p999_us"] / 1000, 3), target=2000)
