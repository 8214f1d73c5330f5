# SPDX-License-Identifier: Apache-2.0
"""Who may include what: the layering of the source tree as data (ARCHITECTURE.md explains it)."""

import fnmatch
import re

# Folder -> the folders of the tree and the libraries that its files may include, besides itself,
# the C and C++ libraries and the system. The longest folder that contains a file counts.
ALLOWED = {
    "lib/base": ["absl"],
    "lib/config": ["lib/base", "absl", "yaml-cpp", "protobuf"],
    "lib/daemon": ["lib/base", "lib/config", "absl", "spdlog", "systemd", "prometheus", "CLI"],
    "lib/iommufd": ["lib/base", "absl"],
    "lib/emulator": ["lib/base", "lib/iommufd", "absl"],
    "lib/vmm": [],
    "lib/vmm/example": ["lib/vmm", "lib/base", "absl", "CLI"],
    "lib/vmm/handoff": ["lib/vmm", "lib/base", "lib/wire", "absl", "CLI", "protobuf"],
    "lib/wire": ["lib/base", "lib/vmm/berth_vmm_wire.h", "absl"],
    "lib/capacity": ["lib/base", "absl"],
    "lib/placement": ["lib/base", "lib/capacity", "absl"],
    "lib/store": ["lib/base", "absl", "protobuf", "proto/internal", "sqlite3"],
    "lib/store/backup": ["lib/base", "lib/config", "lib/rpc", "lib/store", "absl", "protobuf",
                         "proto/internal"],
    "lib/store/etcd": ["lib/base", "lib/rpc", "lib/store", "absl", "grpc", "protobuf",
                       "proto/etcd", "proto/internal"],
    "lib/rpc": ["lib/base", "absl", "grpc", "protobuf", "openssl", "proto/public"],
    "agent": ["lib/base", "lib/config", "lib/daemon", "lib/iommufd", "lib/emulator", "lib/vmm",
              "lib/wire", "lib/capacity", "lib/rpc", "lib/store/sqlite.h", "absl", "grpc", "protobuf",
              "CLI", "openssl", "proto/public", "proto/agent", "proto/internal"],
    "ctl/controller": ["lib/base", "lib/config", "lib/daemon", "lib/capacity", "lib/placement",
                       "lib/store", "lib/rpc", "absl", "grpc", "protobuf", "CLI", "openssl",
                       "proto/public", "proto/agent", "proto/internal"],
    "ctl/cli": ["lib/base", "lib/config", "lib/rpc", "absl", "grpc", "protobuf", "CLI",
                "proto/public", "proto/internal"],
    "tests": ["*"],
}

# Single files that may include more than their folder: the edges of the emulator, where it becomes
# a process with a command line, a configuration and a control service.
EXCEPTIONS = {
    "lib/emulator/*main.cc": ["lib/config", "lib/daemon", "lib/rpc", "grpc", "protobuf", "CLI",
                              "proto/internal"],
    "lib/emulator/emulator_main.h": ["lib/daemon"],
    "lib/emulator/control_service.*": ["lib/rpc", "grpc", "protobuf", "proto/internal"],
    "lib/emulator/faults/fault_service.*": ["lib/config", "lib/rpc", "grpc", "protobuf", "proto/internal"],
    "lib/emulator/host_file.*": ["lib/config", "protobuf", "proto/internal"],
}

# How an include is written -> what it is.
_GROUPS = [
    (r"berth/internal/v1/", "proto/internal"),
    (r"berth/agent/v1/", "proto/agent"),
    (r"berth/v1/|google/rpc/", "proto/public"),
    (r"etcd/", "proto/etcd"),
    (r"absl/", "absl"),
    (r"grpc(pp|\+\+)?/|.*\.grpc\.pb\.h", "grpc"),
    (r"google/protobuf/", "protobuf"),
    (r"yaml-cpp/", "yaml-cpp"),
    (r"spdlog/|fmt/", "spdlog"),
    (r"systemd/", "systemd"),
    (r"prometheus/", "prometheus"),
    (r"CLI/", "CLI"),
    (r"sqlite3\.h", "sqlite3"),
    (r"openssl/", "openssl"),
    (r"gtest/|gmock/|benchmark/|rapidcheck", "test"),
    (r"(lib|agent|ctl|tests)/", "tree"),
]

_INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')


def _group(include):
    for pattern, group in _GROUPS:
        if re.match(pattern, include):
            return group
    return None


def _folder(path):
    inside = [folder for folder in ALLOWED if path.startswith(folder + "/")]
    return max(inside, key=len) if inside else None


def _permits(allowed, include, group):
    if group == "tree":
        return any(include == entry or include.startswith(entry + "/") for entry in allowed)
    return group in allowed


def check(path, lines):
    """Yields (line number, message) for each include that the layering does not allow."""
    folder = _folder(path)
    if folder is None:
        yield 1, "the folder is not in the table of tests/lint/includes.py"
        return
    allowed = ALLOWED[folder] + [folder]
    if "*" in allowed:
        return
    for pattern, more in EXCEPTIONS.items():
        if fnmatch.fnmatch(path, pattern):
            allowed = allowed + more
    for number, line in enumerate(lines, 1):
        match = _INCLUDE.match(line)
        if not match:
            continue
        include = match.group(1)
        group = _group(include)
        if group is not None and not _permits(allowed, include, group):
            yield number, f"{folder} may not include {include}"
