#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the .proto files of Berth as documents: a comment on everything, and the AIP habits.

Usage: lint.py PROTO_DIR. Prints FILE:LINE: what is wrong; exits 1 when anything is.
"""

import pathlib
import re
import sys

FIELD = re.compile(r"^\s*(repeated |optional )?(map<[^>]+>|[\w.]+) (\w+) = \d+;")
VALUE = re.compile(r"^\s*([A-Z][A-Z0-9_]*) = (\d+);")
BLOCK = re.compile(r"^\s*(message|enum|service) (\w+)")
RPC = re.compile(r"^\s*rpc (\w+)\((\w+)\) returns \((stream )?(\w+)\)")
BEHAVIOUR = re.compile(r"//\s*(REQUIRED|OPTIONAL|OUTPUT_ONLY|IDENTIFIER|IMMUTABLE)")
# Messages of the public API whose fields say who sets them; responses and events are output by nature.
INPUT = re.compile(r"Request$|^(Assignment|AssignmentSpec|Host|Quota|DeviceRequest|DeviceAlternative|"
                   r"PlacementConstraint|SameAttribute|Requirement|Taint|Toleration)$")
# What a comment says besides the field's meaning: who sets it.
SETTER = re.compile(r"//|\b(REQUIRED|OPTIONAL|OUTPUT_ONLY|IDENTIFIER|IMMUTABLE|SENSITIVE)\b|"
                    r"\bSet by the \w+[.:;,]?|[.:;,]")
# https://google.aip.dev/140: names have no prepositions. Configuration is not API.
PREPOSITION = re.compile(r"_(at|by|for|from|in|of|on|to|with|without)_|^(for|from|in|of|with)_")


def lint(path, public, internal=False):
    problems = []
    lines = path.read_text().splitlines()
    if not lines[0].startswith("// SPDX-License-Identifier: Apache-2.0"):
        problems.append((1, "no SPDX line"))
    stack = []
    comment = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("//"):
            comment.append(text)
            continue
        block, field, value, rpc = (r.match(line) for r in (BLOCK, FIELD, VALUE, RPC))
        if (block or field or value or rpc) and not comment:
            problems.append((number, f"no comment: {text}"))
        if block:
            stack.append((block.group(1), block.group(2)))
            if line.rstrip().endswith("}"):
                stack.pop()
        elif text.startswith("oneof ") and text.endswith("{"):
            stack.append(("oneof", text))
        elif text == "}" and stack:
            stack.pop()
        elif value and stack and stack[-1][0] == "enum":
            if value.group(2) == "0" and not value.group(1).endswith("_UNSPECIFIED"):
                problems.append((number, f"the zero value is not ..._UNSPECIFIED: {text}"))
        elif field:
            message = next((name for kind, name in reversed(stack) if kind == "message"), "")
            inside_oneof = stack and stack[-1][0] == "oneof"
            if comment and len(SETTER.sub(" ", " ".join(comment)).split()) < 1:
                problems.append((number, f"{message}.{field.group(3)}: the comment says who sets it, "
                                         "not what it means"))
            if not internal and PREPOSITION.search(field.group(3)):
                problems.append((number, f"a preposition in a name: {field.group(3)}"))
            if re.search(r"[A-Z]", field.group(3)):
                problems.append((number, f"not snake_case: {field.group(3)}"))
            if public and INPUT.search(message) and not inside_oneof:
                if not BEHAVIOUR.match(comment[0] if comment else ""):
                    problems.append((number, f"{message}.{field.group(3)}: the comment does not begin with "
                                             "REQUIRED, OPTIONAL, OUTPUT_ONLY, IDENTIFIER or IMMUTABLE"))
        elif rpc and public:
            if rpc.group(2) != rpc.group(1) + "Request":
                problems.append((number, f"the request of {rpc.group(1)} is not {rpc.group(1)}Request"))
        if text:
            comment = []
    return problems


def main():
    root = pathlib.Path(sys.argv[1])
    found = 0
    for path in sorted((root / "berth").rglob("*.proto")):
        public = path.parent == root / "berth" / "v1"
        for number, what in lint(path, public, internal=path.parent.parent.name == "internal"):
            print(f"{path.relative_to(root.parent)}:{number}: {what}")
            found += 1
    print(f"proto lint: {found} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
