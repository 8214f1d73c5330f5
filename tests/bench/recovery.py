# SPDX-License-Identifier: Apache-2.0
"""recovery_to_clean_audit: a process dies beside attached VMMs; when do all records agree again?

`berthctl audit` is asked again and again, a process each time, until it finds no difference.
"""

import os
import signal
import subprocess
import time

import agent_restart

VMMS = 16
HOLD = ["--hold", "--repeat", "1", "--trace"]


def _ask(fleet):
    """Whether the book, the agent, the journal, the fd store and the kernel agree."""
    return subprocess.run([fleet.bin / "berthctl", "--server", fleet.api, "audit"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def _until_clean(fleet, start):
    while not _ask(fleet):
        if time.monotonic() > start + 60:
            raise OSError("the audit does not become clean")
        time.sleep(0.005)
    return (time.monotonic() - start) * 1000


def _quantile(samples, percent):
    return sorted(samples)[len(samples) * percent // 100]


class _Strikes:
    """By what dies; each returns when the next of its kind is on its way."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.trace = fleet.bin.parent / "share/berth/traces/map_unmap_ats"
        self.commands = [[*agent_restart.attach(fleet, number), *HOLD, self.trace]
                         for number in range(VMMS)]
        self.vmms = [agent_restart.start(command) for command in self.commands]
        self.parent = agent_restart.parent_of(fleet)

    def agent(self):
        """`berth-agent supervise` starts the next one."""
        pid = agent_restart.agent_of(self.parent)
        os.kill(pid, signal.SIGKILL)
        while agent_restart.agent_of(self.parent) in (0, pid):
            time.sleep(0.001)

    def controller(self):
        """The next one is started on the same store."""
        os.kill(self.fleet.controller_pid(), signal.SIGKILL)
        self.fleet.shell("until_true 60 none_left berth-controller && "
                         f"api={self.fleet.api} agents={self.fleet.agents} start_controller")

    def vmm(self):
        """Its grant is to be reset and prepared anew."""
        self.vmms[0].kill()
        self.vmms[0].wait()

    def revive_vmm(self):
        """When all is clean."""
        if self.vmms[0].poll() is not None:
            self.vmms[0].stdin.close()
            self.vmms[0] = agent_restart.start(self.commands[0])

    def end(self):
        """None of them may have noticed anything."""
        for vmm in self.vmms:
            vmm.communicate()
            if vmm.returncode != 0:
                raise OSError("a VMM has failed that nobody killed")


def measure(fleet, deaths, line):
    strikes = _Strikes(fleet)
    for kind in (strikes.agent, strikes.controller, strikes.vmm):
        samples, asking = [], []
        for _ in range(deaths):
            start = time.monotonic()
            _until_clean(fleet, start)
            start = time.monotonic()
            asking.append(_until_clean(fleet, start))
            start = time.monotonic()
            kind()
            samples.append(_until_clean(fleet, start))
            strikes.revive_vmm()
        yield line("recovery_to_clean_audit", "ms", round(_quantile(samples, 50), 1),
                   round(_quantile(samples, 50), 1), round(_quantile(samples, 99), 1),
                   died=kind.__name__, vmms=VMMS, deaths=deaths,
                   asking_p50=round(_quantile(asking, 50), 1), target=5000)
    strikes.end()
