# SPDX-License-Identifier: Apache-2.0
"""The harness of tests/kernel without any guest: what it takes, what it counts, what it says."""

import base64
import hashlib
import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class HarnessTest(unittest.TestCase):
    """Works on a copy of the harness, whose scripts a test may replace, with a cache of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.harness = os.path.join(self.root, "clone/tests/kernel")
        shutil.copytree(HERE, self.harness, ignore=shutil.ignore_patterns("__pycache__"))
        self.cache = os.path.join(self.root, "cache")
        self.environment = dict(os.environ, BERTH_CACHE=self.cache, BERTH_NO_KERNEL_BUILD="1",
                                LC_ALL="C.UTF-8")
        self.environment.pop("BERTH_PREBUILT_KERNELS", None)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return path

    def replace(self, script, text):
        """Puts a bash script of the test's own in the place of one of the harness."""
        path = self.write(f"clone/tests/kernel/{script}", "#!/bin/bash\n" + text)
        os.chmod(path, 0o755)

    def run_script(self, script, *arguments, **environment):
        return subprocess.run([os.path.join(self.harness, script), *arguments], text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL,
                              env=dict(self.environment, **environment))


class RunTest(HarnessTest):
    def test_adds_up_the_levels(self):
        self.replace("level-a", "echo a line; echo 'level A: 3 passed, 0 failed, 1 skipped'")
        self.replace("level-d", "echo 'level D: 2 passed, 1 failed, 0 skipped'; exit 1")
        done = self.run_script("run", "A", "D")
        self.assertEqual(done.stdout.splitlines()[-1], "5 passed, 1 failed, 1 skipped")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.run_script("run", "A").returncode, 0)

    def test_passes_on_that_it_is_to_be_short(self):
        self.replace("level-a", 'echo "level A: ${#2} passed, 0 failed, 0 skipped"')
        self.assertIn("7 passed", self.run_script("run", "--short", "A").stdout)
        self.assertIn("\n0 passed", self.run_script("run", "A").stdout)

    def test_says_which_level_did_not_run_and_is_not_green(self):
        self.replace("level-a", "echo 'level A: 3 passed, 0 failed, 0 skipped'")
        self.replace("level-d", "echo 'fetch: apt-get is missing' >&2; exit 3")
        done = self.run_script("run", "A", "D")
        self.assertIn("level D: SKIPPED: fetch: apt-get is missing", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "3 passed, 0 failed, 1 skipped")
        self.assertEqual(done.returncode, 77)

    def test_level_without_tests_is_skipped(self):
        path = os.path.join(self.harness, "level-b")
        if os.path.exists(path):
            os.remove(path)
        done = self.run_script("run", "B")
        self.assertIn("level B: SKIPPED: ", done.stdout)
        self.assertEqual(done.returncode, 77)

    def test_nothing_counted_is_a_failure(self):
        for script in ["echo 'no such library'; exit 1", "true",
                       "echo 'level A: 0 passed, 0 failed, 0 skipped'; exit 1"]:
            self.replace("level-a", script)
            done = self.run_script("run", "A")
            self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 1 failed, 0 skipped")
            self.assertEqual(done.returncode, 1)

    def test_unknown_level_is_wrong_usage(self):
        done = self.run_script("run", "E")
        self.assertEqual(done.returncode, 2)
        self.assertIn("tests/kernel/run [--short] [A|B|C|D|load|all]", done.stderr)


class ImageTest(HarnessTest):
    NAME = "bzImage-x86_64"

    def know(self, content):
        self.write("clone/tests/kernel/SHA256SUMS",
                   f"{hashlib.sha256(content.encode()).hexdigest()}  {self.NAME}\n")

    def test_takes_a_prebuilt_image_beside_the_checkout(self):
        self.know("an image")
        path = self.write(f"shared/kernel/{self.NAME}", "an image")
        done = self.run_script("image", "x86_64")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, os.path.realpath(path)))

    def test_refuses_a_damaged_prebuilt_image(self):
        self.know("an image")
        self.write(f"shared/kernel/{self.NAME}", "an imaGe")
        done = self.run_script("image", "x86_64")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("is not an image that SHA256SUMS knows", done.stderr)

    def test_says_that_there_is_no_kernel(self):
        done = self.run_script("image", "arm64")
        self.assertEqual(done.returncode, 3)
        self.assertIn("there is no kernel for arm64", done.stderr)

    def test_builds_once_and_again_for_another_fragment(self):
        self.replace("build-kernel", 'echo built >>"$BERTH_CACHE/builds"; echo "image $1" >"$2"')
        images = os.path.join(self.cache, "kernel/images", self.NAME)

        def builds():
            done = self.run_script("image", "x86_64", BERTH_NO_KERNEL_BUILD="")
            self.assertEqual((done.returncode, done.stdout.strip()), (0, images), done.stderr)
            with open(os.path.join(self.cache, "builds"), encoding="utf-8") as stream:
                return len(stream.readlines())

        self.assertEqual(builds(), 1)
        self.assertEqual(builds(), 1)
        with open(os.path.join(self.harness, "x86_64.config"), "a", encoding="utf-8") as stream:
            stream.write("CONFIG_KUNIT=y\n")
        self.assertEqual(builds(), 2)
        with open(images, "a", encoding="utf-8") as stream:
            stream.write("damage")
        self.assertEqual(builds(), 3)

    def test_a_build_that_fails_leaves_no_image(self):
        self.replace("build-kernel", 'echo half >"$2"; echo "build-kernel: no compiler" >&2; exit 1')
        for _ in range(2):
            done = self.run_script("image", "x86_64", BERTH_NO_KERNEL_BUILD="")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("build-kernel: no compiler", done.stderr)


class FetchTest(HarnessTest):
    ARGUMENTS = ["--alone", "tool", "bookworm", "amd64", "tool-static"]

    def fakes(self, **scripts):
        """A PATH of the tools that fetch uses, those given replaced (None: missing)."""
        folder = os.path.join(self.root, "fakes")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        for tool in ["bash", "env", "cat", "mkdir", "rm", "mv", "tail", "head", "sort", "mktemp",
                     "chmod", "find", "apt-get", "dpkg-deb"]:
            if tool not in scripts:
                os.symlink(shutil.which(tool) or "/bin/false", os.path.join(folder, tool))
        for tool, text in scripts.items():
            if text is not None:
                os.chmod(self.write(f"fakes/{tool}", "#!/bin/bash\n" + text), 0o755)
        return folder

    # indextargets, update, download.
    APT = ('case "$*" in indextargets*) echo mirror ;; *download*) echo 1 >>"$BERTH_CACHE/calls";'
           ' : >tool.deb ;; esac')

    def test_names_the_tool_that_is_missing(self):
        path = self.fakes(**{"apt-get": None})
        done = self.run_script("fetch", *self.ARGUMENTS, PATH=path)
        self.assertEqual(done.returncode, 3)
        self.assertIn("fetch: apt-get is missing", done.stderr)
        self.assertIn("tool-static", done.stderr)

    def test_says_what_cannot_be_downloaded(self):
        fail = 'case "$1" in indextargets) echo mirror ;; *) echo "E: no route"; exit 100 ;; esac'
        path = self.fakes(**{"apt-get": fail})
        done = self.run_script("fetch", *self.ARGUMENTS, PATH=path)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("E: no route", done.stderr)
        self.assertIn("fetch: cannot download tool-static from bookworm", done.stderr)

    def test_unpacks_once(self):
        path = self.fakes(**{"apt-get": self.APT, "dpkg-deb": 'echo content >"$3/tool"'})
        for _ in range(2):
            done = self.run_script("fetch", *self.ARGUMENTS, PATH=path)
            self.assertEqual(done.returncode, 0, done.stderr)
            folder = done.stdout.strip()
            self.assertEqual(folder, os.path.join(self.cache, "kernel/packages/tool"))
            self.assertEqual(os.listdir(folder), ["tool"])
        with open(os.path.join(self.cache, "calls"), encoding="utf-8") as stream:
            self.assertEqual(len(stream.readlines()), 1)
        self.assertEqual([name for name in os.listdir(os.path.join(self.cache, "kernel"))
                          if name.startswith(("debs", "unpacked"))], [])


def ends(pid):
    """Whether a process that is not our child has ended, or does soon; its parent may not have
    noticed yet."""
    try:
        process = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 30)[0])
    finally:
        os.close(process)


class BootTest(HarnessTest):
    """With a fake in QEMU's place, that plays a guest."""

    def boot(self, guest, **environment):
        folder = os.path.join(self.root, "guest")
        os.makedirs(folder, exist_ok=True)
        self.replace("image", "echo kernel")
        self.replace("qemu", '[[ "$1" == --folder ]] && exit\n' + f"cd {folder}\n" + guest)
        return self.run_script("boot", "x86_64", folder, "", **environment)

    def test_the_end_of_the_guest_is_success(self):
        self.assertEqual(self.boot("echo 'guest: end' >results.log").returncode, 0)

    def test_a_guest_that_hangs(self):
        done = self.boot("exec tail -f /dev/null", BERTH_GUEST_SECONDS="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("boot: the guest was not done after 1 s", done.stderr)

    def test_a_guest_that_is_ended(self):
        script = os.path.join(self.harness, "boot")
        folder = os.path.join(self.root, "guest")
        self.write("guest/started", "")
        self.replace("image", "echo kernel")
        self.replace("qemu", '[[ "$1" == --folder ]] && exit\n'
                             f"echo $$ >{folder}/started; exec tail -f /dev/null")
        with subprocess.Popen([script, "x86_64", folder, ""], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as boot:
            while os.path.getsize(os.path.join(folder, "started")) == 0:
                self.assertIsNone(boot.poll())
            boot.terminate()
            _, errors = boot.communicate()
        self.assertEqual(boot.returncode, 1)
        self.assertIn("boot: the guest was ended from outside", errors)
        with open(os.path.join(folder, "started"), encoding="utf-8") as stream:
            self.assertTrue(ends(stream.read().strip()), "the guest outlives what started it")

    def test_a_guest_that_stops_early(self):
        done = self.boot("echo Oops >console.log; echo 'check: x: passed' >results.log")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Oops", done.stderr)
        self.assertIn("boot: the guest stopped before its tests had ended", done.stderr)

    def test_a_qemu_that_refuses(self):
        done = self.boot("echo 'no such machine' >&2; exit 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such machine", done.stderr)
        self.assertIn("boot: QEMU ended with exit code 1", done.stderr)

    def test_no_qemu(self):
        self.replace("image", "echo kernel")
        self.replace("fetch", "echo 'fetch: apt-get is missing' >&2; exit 3")
        done = self.run_script("boot", "x86_64", self.root, "")
        self.assertEqual(done.returncode, 3)
        self.assertIn("apt-get is missing", done.stderr)


class SentTest(HarnessTest):
    """With files for the registers and the RAM, and a shell for the model."""

    ENTRIES = 16
    RINGS = [0x1000, 0x2000]

    def compare(self, commands, prods, model_says):
        """What `sent` prints of two queues with the opcodes `commands` in their rings."""
        registers, ram = bytearray(0xb0000), bytearray(0x10000)
        for index, ring in enumerate(self.RINGS):
            page0, page1 = 0x30000 + 0x80 * index, 0x40000 + 0x80 * index
            struct.pack_into("<II", registers, page0 + 4, prods[index], 1)
            struct.pack_into("<Q", registers, page1, 0x40000000 + ring + 4)   # 2^4 entries
            for entry, opcode in enumerate(commands[index]):
                ram[ring + 16 * entry] = opcode
        for name, content in [("registers", registers), ("ram", ram)]:
            with open(os.path.join(self.root, name), "wb") as file:
                file.write(content)
        self.write("outside/loaded", "")
        log = self.write("model.log", "ready\n")
        said = self.write("says", "".join(line + "\n" for line in model_says))
        with subprocess.Popen(["bash", "-c", f"trap 'cat {said} >>{log}' HUP; echo; read -r; read -r"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as model:
            model.stdout.readline()   # the trap is set
            done = self.run_script("sent", self.root, os.path.join(self.root, "registers"),
                                   os.path.join(self.root, "ram"), str(model.pid), log)
            model.stdin.close()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.root, "outside/over")))
        return done.stdout

    COMMANDS = [[0x12, 0x12, 0x46], [0x40, 0x46]]
    AGREES = ["VINTF 0 LVCMDQ 0: 3 commands (TLBI_NH_VA 2, CMD_SYNC 1), 0 errors",
              "VINTF 0 LVCMDQ 1: 2 commands (ATC_INV 1, CMD_SYNC 1), 0 errors"]

    def test_agrees(self):
        said = self.compare(self.COMMANDS, [3, 2], self.AGREES)
        self.assertEqual((said.count(": passed"), said.count(": failed")), (8, 0), said)

    def test_a_command_that_was_not_executed(self):
        said = self.compare(self.COMMANDS, [3, 2], [
            "VINTF 0 LVCMDQ 0: 2 commands (TLBI_NH_VA 1, CMD_SYNC 1), 0 errors", self.AGREES[1]])
        self.assertIn("check: the model executed what was sent to queue 0: failed", said)

    def test_a_command_that_was_executed_as_another(self):
        said = self.compare(self.COMMANDS, [3, 2], [
            self.AGREES[0], "VINTF 0 LVCMDQ 1: 2 commands (TLBI_NH_VA 1, CMD_SYNC 1), 0 errors"])
        self.assertIn("check: the model executed what was sent to queue 1: failed", said)

    def test_an_error_and_a_queue_without_use(self):
        said = self.compare(self.COMMANDS, [3, 0], [
            "VINTF 0 LVCMDQ 0: 3 commands (TLBI_NH_VA 2, CMD_SYNC 1), 1 errors",
            "VINTF 0 LVCMDQ 1: 0 commands, 0 errors"])
        self.assertIn("check: queue 0 had no error: failed: 1", said)
        self.assertIn("check: queue 1 was used: failed", said)

    def test_says_that_it_was_too_late(self):
        said = self.compare(self.COMMANDS, [self.ENTRIES + 1, 2], self.AGREES)
        self.assertIn("check: no command of queue 0 escaped the count: failed: 1 times", said)


class ResultsTest(HarnessTest):
    def count(self, *lines):
        path = self.write("results.log", "\n".join(lines) + "\n")
        return self.run_script("results", "A", path)

    def test_counts_gtest_and_checks(self):
        done = self.count("[ RUN      ] S.One", "[       OK ] S.One (3 ms)", "[ RUN      ] S.Two/x",
                          "a.cc:7: Skipped", "no queues", "", "[  SKIPPED ] S.Two/x (0 ms)",
                          "[  SKIPPED ] 1 test, listed below:", "[  SKIPPED ] S.Two/x",
                          "guest: suite ended with 0", "check: device: passed")
        self.assertEqual(done.stdout.splitlines(),
                         ["skipped 1: no queues", "level A: 2 passed, 0 failed, 1 skipped"])
        self.assertEqual(done.returncode, 0)

    def test_shows_failures_once(self):
        done = self.count("[ RUN      ] S.One", "a.cc:9: Failure", "  -22 is not 0",
                          "[  FAILED  ] S.One, where GetParam() = A (3 ms)",
                          "[  FAILED  ] S.One, where GetParam() = A", "guest: suite ended with 1",
                          "check: device: failed: exit code 2", "check: other: passed")
        self.assertEqual(done.stdout.splitlines(),
                         ["a.cc:9: Failure", "  -22 is not 0", "failed: S.One", "exit code 2",
                          "failed: device", "level A: 1 passed, 2 failed, 0 skipped"])
        self.assertEqual(done.returncode, 1)

    def test_a_program_that_crashes_is_a_failure(self):
        done = self.count("[ RUN      ] S.One", "[       OK ] S.One (3 ms)", "[ RUN      ] S.Two",
                          "guest: suite ended with 139")
        self.assertIn("failed: suite (exit code 139)", done.stdout)
        self.assertIn("level A: 1 passed, 1 failed, 0 skipped", done.stdout)

    def test_nothing_passed_is_no_success(self):
        self.assertEqual(self.count("guest: end").returncode, 1)


class InitramfsTest(HarnessTest):
    def entries(self, data):
        """The names, modes and contents of the archives in `data`, one after the other."""
        at = 0
        while at < len(data):
            self.assertEqual(data[at:at + 6], b"070701")
            fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
            name = data[at + 110:at + 109 + fields[11]].decode()
            begin = at + (110 + fields[11] + 3) // 4 * 4
            yield name, fields[1], data[begin:begin + fields[6]]
            at = begin + (fields[6] + 3) // 4 * 4

    def make(self, *arguments):
        level = self.write("level", "true\n")
        out = os.path.join(self.root, "initrd")
        done = self.run_script("initramfs", out, "--busybox", level, "--level", level, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, "rb") as stream:
            return list(self.entries(stream.read()))

    def test_bundles_a_program_with_its_libraries(self):
        program = shutil.which("bash")
        made = self.make("--program", program, "--file", program + ":data/file")
        content = {name: data for name, _, data in made}
        with open(program, "rb") as stream:
            self.assertEqual(content["bin/bash"], stream.read())
        self.assertEqual(content["data/file"], content["bin/bash"])
        self.assertEqual(content["guest/level"], b"true\n")
        for library in ["libc.so.6", "ld-linux"]:
            self.assertTrue([name for name in content if library in name and content[name]])
        names = [name for name, _, _ in made]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertIn(os.path.dirname(name), names + [""])

    def test_keeps_a_foreign_program_and_its_libraries_apart(self):
        program = shutil.which("bash")
        foreign = os.path.join(self.root, "foreign")
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        copies = {program.lstrip("/"): program}
        for path in re.findall(r"(/\S+) \(0x", libraries.stdout):
            # Where the loader of a system looks, wherever this machine has them.
            copies[f"lib/x86_64-linux-gnu/{os.path.basename(path)}"] = path
            if "ld-linux" in path:
                copies[f"lib64/{os.path.basename(path)}"] = path
        for inside, path in copies.items():
            target = os.path.join(foreign, inside)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
        names = [name for name, _, _ in
                 self.make("--foreign", f"other:{foreign}:{program.lstrip('/')}")]
        self.assertIn("other/bin/bash", names)
        self.assertIn("other/lib64/ld-linux-x86-64.so.2", names)
        self.assertIn("other/lib/x86_64-linux-gnu/libc.so.6", names)
        self.assertNotIn("lib/x86_64-linux-gnu/libc.so.6", names)

    def test_tables_come_first(self):
        names = [name for name, _, _ in self.make("--table", self.write("ssdt.aml", "SSDT"))]
        self.assertEqual(names[3:5], ["kernel/firmware/acpi/ssdt.aml", "TRAILER!!!"])
        self.assertEqual(names[-1], "TRAILER!!!")

    def test_a_library_that_is_missing_is_named(self):
        level = self.write("level", "true\n")
        done = self.run_script("initramfs", os.path.join(self.root, "initrd"), "--busybox", level,
                               "--level", level, "--program", shutil.which("bash"),
                               "--sysroot", self.root)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, f"^initramfs: .*so.*, which .*bash needs, is not in {self.root}")


class IortTest(HarnessTest):
    def patch(self, table):
        lines = base64.encodebytes(table).decode()
        results = self.write("results.log", lines + "guest: end\n")
        out = os.path.join(self.root, "iort.aml")
        done = self.run_script("iort", results, out)
        if done.returncode != 0:
            return done, None
        with open(out, "rb") as stream:
            return done, stream.read()

    @staticmethod
    def table(*nodes):
        """An IORT of nodes (type, content)."""
        body = b"".join(struct.pack("<BHBIII", kind, 16 + len(content), 3, 0, 0, 0) + content
                        for kind, content in nodes)
        table = bytearray(struct.pack("<4sIBB6s8sI4sIIII", b"IORT", 48 + len(body), 3, 0, b"BERTH ",
                                      b"TEST    ", 7, b"    ", 1, len(nodes), 48, 0) + body)
        table[9] = -sum(table) & 0xff
        return bytes(table)

    def test_root_complexes_become_coherent(self):
        smmu, root = (4, bytes(60)), (2, bytes.fromhex("01000000 00 0000 03") + bytes(12))
        done, patched = self.patch(self.table(smmu, root, root))
        self.assertEqual(done.returncode, 0, done.stderr)
        coherent = (2, bytes.fromhex("01000000 00 0000 07") + bytes(12))
        wanted = bytearray(self.table(smmu, coherent, coherent))
        wanted[24] += 1
        wanted[9] = (wanted[9] - 1) & 0xff
        self.assertEqual(patched, bytes(wanted))

    def test_refuses_what_is_no_such_table(self):
        good = self.table((2, bytes(20)))
        for table in [b"", good[:-1], good[:-1] + b"x", b"DSDT" + good[4:], self.table((4, bytes(60)))]:
            done, _ = self.patch(table)
            self.assertEqual(done.returncode, 1)
            self.assertIn("IORT", done.stderr)


if __name__ == "__main__":
    unittest.main()
