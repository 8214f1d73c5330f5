#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps what the controller of this build stores, for the tests of later versions.

  keep.py BIN_DIR FOLDER

Runs a controller, an emulated host and a few calls from BIN_DIR, and writes sqlite-N.db,
backup-N.berth and etcd-N.txt into FOLDER, where N is the schema or format. Needs etcd.
"""
import base64
import json
import os
import pathlib
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request

ONE_GPU = "name: {name}\nspec: {{device_requests: [{{name: gpu, class: gpu}}]{more}}}\n"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    for _ in range(600):
        if condition():
            return
        select.select([], [], [], 0.1)
    sys.exit(f"waited in vain for {what}")


class Fleet:
    def __init__(self, bin_dir, folder):
        self.bin, self.folder = bin_dir, folder
        self.api, self.link = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.processes = []
        hosts = pathlib.Path(__file__).resolve().parents[3] / "deploy/examples/hosts"
        self.write("controller.yaml", f"api: {{address: {self.api}}}\n"
                   f"agent_link: {{address: {self.link}}}\n"
                   "store: {sqlite: {path: book.db}}\ncluster_key_file: key\n")
        self.write("agent.yaml", "host_id: gh200\n"
                   f"backend: {{emulated: {{host_file: {hosts}/gh200.yaml}}}}\n"
                   f"controller: {{addresses: [\"{self.link}\"]}}\n"
                   "runtime_dir: run\nstate_dir: state\nvmm_socket: run/vmm.sock\n"
                   "local_api: {address: \"unix:run/agent.sock\"}\n")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def start(self, program):
        self.processes.append(subprocess.Popen(
            [self.bin / f"berth-{program}", "--config", self.folder / f"{program}.yaml"],
            cwd=self.folder, stderr=open(self.folder / f"{program}.log", "w")))

    def ctl(self, *args, text=None):
        return subprocess.run([self.bin / "berthctl", "--server", self.api, *args], check=True,
                              input=text, text=True, stdout=subprocess.PIPE).stdout

    def create(self, name, *args, more=""):
        self.ctl("create", "-f", "-", *args, text=ONE_GPU.format(name=name, more=more))

    def store(self, *args):
        subprocess.run([self.bin / "berth-controller", "store", *args, "--config",
                        self.folder / "controller.yaml"], check=True, cwd=self.folder)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        self.processes = []


def fill(fleet):
    """One assignment of each kind that a store can hold, and a host with an operator's marks."""
    fleet.start("controller")
    fleet.start("agent")
    fleet.ctl("wait", "host/gh200", "--for=ready", "--timeout=60s")
    fleet.create("placed", "--wait", "--request-id=kept-request")
    fleet.create("rotated", "--wait")
    fleet.ctl("rotate-token", "rotated")
    fleet.create("waiting", more=", when_unavailable: QUEUE, host_selector: "
                 "[{key: rack, operator: IN, values: [none]}]")
    fleet.ctl("cordon", "gh200")


def keep_sqlite(source, folder):
    with sqlite3.connect(source) as book:
        book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        schema = book.execute("PRAGMA user_version").fetchone()[0]
        book.execute("PRAGMA journal_mode=DELETE")
    shutil.copyfile(source, folder / f"sqlite-{schema}.db")


def etcd_keys(address):
    query = {"key": base64.b64encode(b"/berth/").decode(),
             "range_end": base64.b64encode(b"/berth0").decode()}
    request = urllib.request.Request(f"http://{address}/v3/kv/range",
                                     json.dumps(query).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer).get("kvs", [])


def keep_etcd(fleet, folder):
    """The store as it is after a move to etcd: keys below the prefix and values, in base64."""
    address, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
    etcd = subprocess.Popen(
        ["etcd", "--data-dir", fleet.folder / "etcd", "--listen-client-urls", f"http://{address}",
         "--advertise-client-urls", f"http://{address}", "--listen-peer-urls", f"http://{peer}",
         "--initial-advertise-peer-urls", f"http://{peer}", "--initial-cluster",
         f"default=http://{peer}"], stderr=subprocess.DEVNULL)
    try:
        fleet.write("etcd.yaml", f"store: {{etcd: {{endpoints: [\"{address}\"]}}}}\n"
                    "cluster_key_file: key\n")

        def serves():
            try:
                etcd_keys(address)
                return True
            except OSError:
                return False
        until("etcd", serves)
        fleet.store("migrate", "--to", str(fleet.folder / "etcd.yaml"))
        lines = []
        for pair in etcd_keys(address):
            key = base64.b64decode(pair["key"]).removeprefix(b"/berth")
            if key != b"/leader":
                lines.append(f"{base64.b64encode(key).decode()} {pair['value']}\n")
        # EtcdHead.format, field 1.
        head = next(line for line in lines if base64.b64decode(line.split()[0]) == b"/head")
        number = base64.b64decode(head.split()[1])[1]
        (folder / f"etcd-{number}.txt").write_text("".join(lines))
    finally:
        etcd.terminate()
        etcd.wait()


def main():
    bin_dir, kept = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="berth-keep-") as name:
        fleet = Fleet(bin_dir, pathlib.Path(name))
        os.umask(0o077)
        try:
            fill(fleet)
        finally:
            fleet.stop()
        fleet.store("backup", str(fleet.folder / "backup"))
        shutil.copyfile(fleet.folder / "backup", kept / "backup-1.berth")
        keep_etcd(fleet, kept)
        keep_sqlite(fleet.folder / "book.db", kept)


if __name__ == "__main__":
    main()
