# SPDX-License-Identifier: Apache-2.0
"""The rules about the source that a script can judge. Each yields (path, line, message)."""

import os
import re

import includes

MAX_LINES = 500
MAX_FUNCTION_LINES = 60
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "agent", "ctl", "deploy", "lib",
             "proto", "tests"}
# The only file that may make the ioctl system call: everything else goes through KernelApi.
IOCTL_FILE = "lib/iommufd/real_kernel.cc"
# The only file that may name the system's packages.
PACKAGES_FILE = "deploy/install-dependencies"

_SLASH = (".h", ".cc", ".c", ".proto")
_HASH = (".cmake", ".yaml", ".yml", ".py", ".sh", ".service", ".supp", "CMakeLists.txt")
# Words that stand for unfinished work, and waits for time instead of a condition. Written in two
# parts, so that this file does not contain them.
_UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
_SLEEP = re.compile(r"\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\s*\(|\bsleep\s*\(?\s*[\d.]")
_IOCTL = re.compile(r"(?<![\w.>])ioctl\s*\(")
_GETENV = re.compile(r"\b(secure_)?getenv\s*\(")


class File:
    """One tracked text file."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.splitlines()

    @property
    def is_script(self):
        return self.text.startswith("#!")

    @property
    def is_bash(self):
        return self.is_script and "bash" in self.lines[0]

    @property
    def is_cxx(self):
        return self.path.endswith((".h", ".cc", ".c"))

    @property
    def in_tests(self):
        return self.path.startswith("tests/")


def strip_comments(text):
    """C and C++ source with comments and the contents of strings blanked; lines keep their place."""
    pattern = re.compile(r'(?<!\w)(\d(?:\'?[\w.])*)|//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\2"|'
                         r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: m.group(1) or "\n" * m.group(0).count("\n") or " ", text)


_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)
_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b(?!.*\)[^<>]*$)", re.S)


def functions(text):
    """(first line of the body, its lines, what stands before it) of each function of C or C++.

    Goes by braces alone: at the level of namespaces and classes, what has parentheses before its
    brace is a function, whatever is inside. Lambdas and local classes belong to their function.
    """
    text = _DIRECTIVE.sub(lambda m: "\n" * m.group(0).count("\n"), strip_comments(text))
    scopes = []      # of the braces that are open: "scope", "data" or "function", with its line
    line, head = 1, ""
    for at, char in enumerate(text):
        line += char == "\n"
        outside = all(kind == "scope" for kind, _, _ in scopes)
        if char == "{":
            before = head.strip()
            if not outside or before.endswith(("=", ",", "(", "return")):
                kind = "data"
            elif _SCOPE.search(before):
                kind = "scope"
            else:
                kind = "function" if "(" in before else "data"
            scopes.append((kind, line, before))
            head = "" if kind == "scope" else head
        elif char == "}" and scopes:
            kind, first, before = scopes.pop()
            # An initialiser in braces, of a member: the body is still to come.
            if kind == "function" and text[at + 1:].lstrip()[:1] in (",", "{"):
                continue
            if kind == "function":
                yield first, line - first + 1, " ".join(before.split())
            if all(kind == "scope" for kind, _, _ in scopes) and kind != "data":
                head = ""
        elif outside:
            head = "" if char == ";" else head + char


def _matches(file, text, pattern, message):
    for number, line in enumerate(text.splitlines(), 1):
        match = pattern.search(line)
        if match:
            yield file.path, number, message.format(match.group(0).strip("( "))


def spdx(files):
    for file in files:
        if file.path.endswith(_SLASH):
            head, wanted = file.lines[:1], "// SPDX-License-Identifier: Apache-2.0"
            if file.path.endswith((".h", ".c")) and head == [f"/* {wanted[3:]} */"]:
                continue
        elif file.is_script or file.path.endswith(_HASH):
            head, wanted = file.lines[:2], "# SPDX-License-Identifier: Apache-2.0"
        else:
            continue
        if wanted not in head:
            yield file.path, 1, f'the file does not begin with "{wanted}"'


def layering(files):
    for file in files:
        if file.is_cxx:
            for number, message in includes.check(file.path, file.lines):
                yield file.path, number, message


def one_ioctl(files):
    for file in files:
        if file.is_cxx and file.path != IOCTL_FILE and not file.path.startswith("tests/kernel/"):
            yield from _matches(file, strip_comments(file.text), _IOCTL,
                                f"only {IOCTL_FILE} calls ioctl; use KernelApi")


def environment(files):
    for file in files:
        if file.is_cxx and not file.in_tests and os.path.basename(file.path) != "main.cc":
            yield from _matches(file, strip_comments(file.text), _GETENV,
                                "{} outside main.cc: pass the value as an argument")


def length(files):
    for file in files:
        if (file.is_cxx or file.is_script or file.path.endswith(".py")) and \
                len(file.lines) > MAX_LINES:
            yield file.path, MAX_LINES, f"{len(file.lines)} lines; at most {MAX_LINES}: find the seam"


def function_length(files):
    for file in files:
        if file.is_cxx:
            for first, lines, name in functions(file.text):
                if lines > MAX_FUNCTION_LINES:
                    yield (file.path, first, f"{lines} lines in {name[-60:]}; at most "
                                             f"{MAX_FUNCTION_LINES}: find the seam")


def readme(files):
    paths = {file.path for file in files}
    # A folder that has only folders, as proto/berth, says nothing that theirs do not say.
    for folder in sorted({os.path.dirname(path) for path in paths} - {""}):
        if f"{folder}/README.md" not in paths:
            yield folder, 1, "the folder has no README.md"


def unfinished(files):
    for file in files:
        yield from _matches(file, file.text, _UNFINISHED, "{} in the tree")


def no_sleep(files):
    for file in files:
        # A benchmark may have to measure idleness.
        if file.in_tests and not file.path.startswith("tests/bench/") and (
                file.is_cxx or file.is_bash or file.path.endswith(".py")):
            text = strip_comments(file.text) if file.is_cxx else file.text
            yield from _matches(file, text, _SLEEP, "{}: wait for a condition, not for time")


def header_guard(files):
    for file in files:
        if not file.path.endswith(".h"):
            continue
        guard = "BERTH_" + re.sub(r"[^A-Z0-9]", "_", file.path.upper()) + "_"
        # Installed headers go by the name under which users include them.
        installed = "BERTH_" + re.sub(r"[^A-Z0-9]", "_", os.path.basename(file.path).upper()) + "_"
        names = [guard]
        if file.path.startswith("lib/vmm/"):
            names += [installed, installed.removeprefix("BERTH_")]
        if not any(f"#ifndef {name}\n#define {name}\n" in file.text for name in names):
            yield file.path, 1, f"the header guard is not {guard}"


def packages(files):
    """Names of packages, known by where they stand in PACKAGES_FILE or by how they are used."""
    named = {word for file in files if file.path == PACKAGES_FILE
             for block in re.findall(r"^\w*packages=\((.*?)^\)", file.text, re.M | re.S)
             for word in block.split() if word.endswith("-dev")}
    # A library's package is known by its ending; a tool's has the tool's name, which may be said.
    library = "|".join(re.escape(name) for name in sorted(named)) or r"(?!)"
    # {} of a formatted message and $... of a script are not names.
    pattern = re.compile(rf"(?<![\w-])({library})(?![\w-])|\b(apt|apt-get|aptitude|dpkg)\s+"
                         r"(-\S+\s+)*(install|-i)\s+(-\S+\s+)*[a-z][\w+.-]*")
    for file in files:
        # The rule and its test name some to say what they are about; tests/kernel installs nothing:
        # it unpacks its equipment into a cache.
        if file.path != PACKAGES_FILE and \
                not file.path.startswith(("tests/lint/", "tests/kernel/")):
            yield from _matches(file, file.text, pattern,
                                f"only {PACKAGES_FILE} names packages: {{}}")


def top_level(files):
    for name in sorted({file.path.split("/")[0] for file in files}):
        if name not in TOP_LEVEL and not name.startswith(".") and not name.endswith(".md"):
            yield name, 1, "not one of the fixed top-level names"


ALL = [spdx, layering, one_ioctl, environment, length, function_length, readme, unfinished,
       no_sleep, header_guard, packages, top_level]
