# SPDX-License-Identifier: Apache-2.0
"""Each rule finds what it is for, and lets good files pass."""

import unittest

import rules

LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"


def found(rule, path, text):
    return [(line, message) for _, line, message in rule([rules.File(path, text)])]


class RulesTest(unittest.TestCase):

    def test_spdx(self):
        self.assertTrue(found(rules.spdx, "lib/base/x.cc", "int x;\n"))
        self.assertTrue(found(rules.spdx, "tests/run", "#!/bin/bash\nset -e\n"))
        self.assertFalse(found(rules.spdx, "lib/base/x.cc", LICENCE))
        self.assertFalse(found(rules.spdx, "tests/run", "#!/bin/bash\n#" + LICENCE[2:]))
        self.assertFalse(found(rules.spdx, "LICENSE", "Apache\n"))

    def test_layering(self):
        def includes(path, header):
            return found(rules.layering, path, f'{LICENCE}#include "{header}"\n')
        self.assertEqual(2, includes("lib/base/x.cc", "lib/config/config.h")[0][0])
        self.assertTrue(includes("agent/x.cc", "lib/placement/engine.h"))
        self.assertTrue(includes("agent/x.cc", "ctl/controller/book.h"))
        self.assertTrue(includes("lib/placement/x.cc", "berth/v1/host.pb.h"))
        self.assertTrue(includes("lib/wire/x.cc", "lib/vmm/berth_vmm.h"))
        self.assertTrue(includes("lib/emulator/server.cc", "lib/daemon/logging.h"))
        self.assertTrue(includes("lib/new/x.cc", "lib/base/status.h"))
        self.assertTrue(includes("lib/vmm/client.c", "lib/base/status.h"))
        self.assertFalse(includes("lib/vmm/example/main.cc", "lib/base/status.h"))
        self.assertFalse(includes("lib/emulator/main.cc", "lib/daemon/logging.h"))
        self.assertFalse(includes("lib/wire/x.cc", "lib/vmm/berth_vmm_wire.h"))
        self.assertFalse(includes("ctl/controller/x.cc", "lib/placement/engine.h"))
        self.assertFalse(includes("tests/x/y_test.cc", "lib/store/store.h"))
        self.assertFalse(includes("lib/base/x.cc", "sys/mman.h"))

    def test_one_ioctl(self):
        self.assertTrue(found(rules.one_ioctl, "agent/x.cc", "int r = ::ioctl(fd, 1);"))
        self.assertFalse(found(rules.one_ioctl, "lib/iommufd/real_kernel.cc", "::ioctl(fd, 1);"))
        self.assertFalse(found(rules.one_ioctl, "agent/x.cc", "// as ioctl(2) says\nf.ioctl(1);"))

    def test_packages(self):
        known = rules.File("deploy/install-dependencies",
                           "build_packages=(\n  cmake libx++-dev\n  libyaml-dev\n)\n")

        def named(path, text):
            return list(rules.packages([known, rules.File(path, text)]))
        self.assertTrue(named("README.md", "It needs libx++-dev.\n"))
        self.assertTrue(named("tests/run", "apt-get install -y cmake\n"))
        self.assertTrue(named("README.md", "run `sudo apt install libfoo`\n"))
        self.assertFalse(named("README.md", "It is built with cmake, and runs\n"
                                            "`deploy/install-dependencies`\n"))
        self.assertFalse(named("tests/x.sh", 'expect "apt-get install -y ${wanted[*]}"\n'))
        self.assertFalse(list(rules.packages([known])))

    def test_environment(self):
        self.assertTrue(found(rules.environment, "agent/x.cc", "auto* e = std::getenv(n);"))
        self.assertFalse(found(rules.environment, "agent/main.cc", "auto* e = std::getenv(n);"))

    def test_length(self):
        self.assertTrue(found(rules.length, "agent/x.cc", "\n" * 501))
        self.assertFalse(found(rules.length, "agent/x.cc", "\n" * 500))
        self.assertFalse(found(rules.length, "tests/data/x.txt", "\n" * 501))

    def test_function_length(self):
        long = "{\n" + "  f();\n" * 59 + "}\n"
        good = "{\n" + "  f();\n" * 58 + "}\n"
        for head in ("void F() ", "int C::F(int a = 3) const noexcept ", "TEST(A, B) ",
                     "class A { C() : a_(1), b_{2} ", "namespace n { struct S* f(void)\n",
                     "template <typename T>\nrequires requires(T t) { t.x; }\nint F() ",
                     "enum E { kA = 10'000 };\nauto f = [](char c = '{') "):
            self.assertTrue(found(rules.function_length, "agent/x.cc", head + long), head)
            self.assertFalse(found(rules.function_length, "agent/x.cc", head + good), head)
        for no_function in ("class A ", "struct S : T<int(int)> ", "namespace n ", 'extern "C" ',
                            "const int kTable[] = ", "enum class E : int ", 'auto t = R"(\n'):
            self.assertFalse(found(rules.function_length, "agent/x.cc", no_function + long))
        self.assertFalse(found(rules.function_length, "agent/x.py", "def f():\n" + long))
        self.assertEqual(
            [(2, 3, "int F()"), (6, 1, "void G(int)")],
            list(rules.functions('#define M(x) {\nint F() {\n  if (a) { "}"; }\n}\n\nvoid G(int) {}')))

    def test_readme(self):
        for path in ("lib/x/y.cc", "lib/CMakeLists.txt", ".ci/run", "proto/berth/v1/host.proto"):
            self.assertTrue(found(rules.readme, path, ""), path)
        both = [rules.File(path, "") for path in ("CMakeLists.txt", "lib/x/y.cc", "lib/x/README.md")]
        self.assertFalse(list(rules.readme(both)))

    def test_unfinished(self):
        self.assertTrue(found(rules.unfinished, "x.md", "TO" + "DO: all"))
        self.assertFalse(found(rules.unfinished, "x.md", "a method"))

    def test_no_sleep(self):
        self.assertTrue(found(rules.no_sleep, "tests/x_test.cc", "absl::Sleep" + "For(d);"))
        self.assertTrue(found(rules.no_sleep, "tests/x.py", "time.sle" + "ep(0.1)"))
        self.assertFalse(found(rules.no_sleep, "lib/x.cc", "absl::Sleep" + "For(d);"))

    def test_header_guard(self):
        good = "#ifndef BERTH_LIB_X_Y_H_\n#define BERTH_LIB_X_Y_H_\n#endif\n"
        self.assertFalse(found(rules.header_guard, "lib/x/y.h", good))
        self.assertTrue(found(rules.header_guard, "lib/x/z.h", good))

    def test_top_level(self):
        self.assertTrue(found(rules.top_level, "scripts/x.sh", ""))
        self.assertFalse(found(rules.top_level, ".ci/run", ""))

    def test_strip_comments_keeps_lines(self):
        self.assertEqual(rules.strip_comments('a /* b\nc */ d // e\n"f//g" h'), "a \n d  \n  h")


if __name__ == "__main__":
    unittest.main()
