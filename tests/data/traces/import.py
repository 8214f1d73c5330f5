#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts parts of recorded command streams into this folder: import.py RECORDINGS
With --all FOLDER: all of every stream into FOLDER, for tests/emulator/hardware/replay_all.

RECORDINGS holds manifest.json, RUN.SEGMENT.qN.bin.xz (commands) and RUN.SEGMENT.doorbells.bin.xz
(all PROD values seen, bit 31 = queue). Each part starts after a CMD_SYNC and ends with one, but a
whole stream has all its commands, to the last.
"""
import json
import lzma
import pathlib
import re
import struct
import sys

# name here -> (recorded run and segment, commands to take from each queue, start at a full ring)
EVERYTHING = 1 << 62
PARTS = {
    "boot": ("stock.boot", 64, False),
    "map_unmap_ats": ("ats-q8.dma_t2_g4", 1500, False),
    "domain_switch_ats": ("ats-q8.domain", 600, False),
    "scatter_gather_norange": ("noril-q8.sg_t2_g500", 3200, True),
}
# The same, of a kernel that owns the hardware, into host_kernel/.
HOST_PARTS = {
    "host_boot": ("hypown.boot", EVERYTHING, False),
    "host_domain_switch": ("hypown.domain", EVERYTHING, False),
}
# What a guest sends, and what only the owner of the hardware does.
OPCODES = {0x11: "tlbi_nh_asid", 0x12: "tlbi_nh_va", 0x40: "atc_inv", 0x46: "cmd_sync"}
HOST_OPCODES = {0x01: "prefetch_config", 0x02: "prefetch_addr", 0x03: "cfgi_ste",
                0x04: "cfgi_ste_range", 0x05: "cfgi_cd", 0x06: "cfgi_cd_all", 0x10: "tlbi_nh_all",
                0x13: "tlbi_nh_vaa", 0x20: "tlbi_el2_all", 0x21: "tlbi_el2_asid",
                0x22: "tlbi_el2_va", 0x23: "tlbi_el2_vaa", 0x28: "tlbi_s12_vmall",
                0x2a: "tlbi_s2_ipa", 0x30: "tlbi_nsnh_all", 0x41: "pri_resp", 0x44: "resume",
                0x45: "stall_term"}
COLUMNS = ["name", "queue", "log2size", "first_prod", "commands", "doorbells", "full_rings",
           "vsids"]
CMD_SYNC = 0x46


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
    """Returns (first, last) doorbell: both just behind a CMD_SYNC, or all there are."""
    if limit == EVERYTHING:
        last = max(i for i, end in enumerate(ends) if end <= len(raw) // 16)
        if ends[last] != len(raw) // 16:
            raise ValueError(f"no doorbell for the last {len(raw) // 16 - ends[last]} commands")
        return -1, last
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
    counts = {known: opcodes.count(o) for o, known in (OPCODES | HOST_OPCODES).items()}
    if sum(counts.values()) != len(opcodes):
        raise ValueError(f"{name}: an unknown opcode")
    return {"name": name, "queue": queue, "log2size": row["log2size"], "first_prod": first_prod,
            "commands": len(commands) // 16, "doorbells": len(prods), **counts, "full_rings": full,
            "vsids": ",".join(f"{s:#x}" for s in sorted(sids)) or "-"}


def import_parts(recordings, rows, folder, parts):
    """Writes the parts and their index.tsv, which has a column for each opcode there is."""
    streams = [part(recordings, folder, name, source, row) for name, source in parts.items()
               for row in rows if row["file"].startswith(source[0] + ".q") and row["commands"] > 0]
    others = [o for o in HOST_OPCODES.values() if any(stream[o] for stream in streams)]
    columns = [*COLUMNS[:-2], *OPCODES.values(), *others, *COLUMNS[-2:]]
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(stream[column]) for column in columns) for stream in streams]
    (folder / "index.tsv").write_text("\n".join(lines) + "\n")


def main():
    recordings = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(__file__).parent
    rows = json.loads((recordings / "manifest.json").read_text())["traces"]
    if sys.argv[2:3] == ["--all"]:
        folder = pathlib.Path(sys.argv[3])
        names = {row["file"].rsplit(".q", 1)[0] for row in rows if row["commands"] > 0}
        parts = {re.sub(r"\W", "_", name): (name, EVERYTHING, False) for name in sorted(names)}
        import_parts(recordings, rows, folder, parts)
        return
    import_parts(recordings, rows, folder, PARTS)
    (folder / "host_kernel").mkdir(exist_ok=True)
    import_parts(recordings, rows, folder / "host_kernel", HOST_PARTS)


if __name__ == "__main__":
    main()
