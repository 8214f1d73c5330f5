#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts parts of recorded command streams into this folder: import.py RECORDINGS
With --all FOLDER: all of every stream into FOLDER, for tests/emulator/hardware/replay_all.

RECORDINGS holds manifest.json, RUN.SEGMENT.qN.bin.xz (commands) and RUN.SEGMENT.doorbells.bin.xz
(all PROD values seen, bit 31 = queue). Each part starts after a CMD_SYNC and ends with one.
"""
import json
import lzma
import pathlib
import re
import struct
import sys

# name here -> (recorded run and segment, commands to take from each queue, start at a full ring)
PARTS = {
    "boot": ("stock.boot", 64, False),
    "map_unmap_ats": ("ats-q8.dma_t2_g4", 1500, False),
    "domain_switch_ats": ("ats-q8.domain", 600, False),
    "scatter_gather_norange": ("noril-q8.sg_t2_g500", 3200, True),
}
OPCODES = {0x11: "tlbi_nh_asid", 0x12: "tlbi_nh_va", 0x40: "atc_inv", 0x46: "cmd_sync"}
COLUMNS = ["name", "queue", "log2size", "first_prod", "commands", "doorbells",
           *OPCODES.values(), "full_rings", "vsids"]
CMD_SYNC = 0x46
EVERYTHING = 1 << 62


def read(path):
    return lzma.decompress(path.read_bytes())


def positions(prods, first_prod, mask):
    """PROD values as counts of commands since the start of the recording."""
    at, last, result = 0, first_prod, []
    for prod in prods:
        at += (prod - last) & mask
        last = prod
        result.append(at)
    return result


def cut(raw, ends, limit, size, want_full):
    """Returns (first, last) doorbell: both just behind a CMD_SYNC."""
    synced = [i for i, end in enumerate(ends)
              if 0 < end <= len(raw) // 16 and raw[16 * (end - 1)] == CMD_SYNC]
    first = -1
    if want_full:
        jumps = [i for i in range(1, len(ends)) if ends[i] - ends[i - 1] > size - 64]
        if jumps:
            first = max((i for i in synced if i < jumps[0] - 4), default=-1)
    start = ends[first] if first >= 0 else 0
    last = max(i for i in synced if ends[i] - start <= limit)
    return first, last


def part(recordings, folder, name, source, row):
    recorded, limit, want_full = source
    queue, mask = row["queue"], (2 << row["log2size"]) - 1
    raw = read(recordings / row["file"])
    words = struct.iter_unpack("<I", read(recordings / f"{recorded}.doorbells.bin.xz"))
    prods = [w & 0x7FFFFFFF for (w,) in words if w >> 31 == queue]
    ends = positions(prods, row["first_prod"], mask)
    size = 1 << row["log2size"]
    first, last = cut(raw, ends, limit, size, want_full)
    start = ends[first] if first >= 0 else 0
    first_prod = prods[first] if first >= 0 else row["first_prod"]
    commands = raw[16 * start:16 * ends[last]]
    prods = prods[first + 1:last + 1]
    stem = folder / f"{name}.q{queue}"
    stem.with_name(stem.name + ".cmds").write_bytes(commands)
    stem.with_name(stem.name + ".doorbells").write_bytes(struct.pack(f"<{len(prods)}I", *prods))
    opcodes = commands[::16]
    sids = {s for o, s in zip(opcodes, (w for _, w, _ in struct.iter_unpack("<IIQ", commands)))
            if o == 0x40}
    full = sum(1 for a, b in zip([start, *ends[first + 1:last]], ends[first + 1:last + 1])
               if b - a == size)
    return [name, queue, row["log2size"], first_prod, len(commands) // 16, len(prods),
            *(opcodes.count(o) for o in OPCODES), full,
            ",".join(f"{s:#x}" for s in sorted(sids)) or "-"]


def main():
    recordings = pathlib.Path(sys.argv[1])
    folder, parts = pathlib.Path(__file__).parent, PARTS
    rows = json.loads((recordings / "manifest.json").read_text())["traces"]
    if sys.argv[2:3] == ["--all"]:
        folder = pathlib.Path(sys.argv[3])
        names = {row["file"].rsplit(".q", 1)[0] for row in rows if row["commands"] > 0}
        parts = {re.sub(r"\W", "_", name): (name, EVERYTHING, False) for name in sorted(names)}
    lines = ["\t".join(COLUMNS)]
    for name, source in parts.items():
        for row in rows:
            if row["file"].startswith(source[0] + ".q") and row["commands"] > 0:
                lines.append("\t".join(map(str, part(recordings, folder, name, source, row))))
    (folder / "index.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
