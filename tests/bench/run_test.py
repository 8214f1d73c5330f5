#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tests/bench/run prints: one of its measures as it is, and what it makes of wrong ones.

    run_test.py BUILD-FOLDER
"""

import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import unittest

RUN = pathlib.Path(__file__).resolve().parent / "run"


def load():
    loader = importlib.machinery.SourceFileLoader("bench_run", str(RUN))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
    loader.exec_module(module)
    return module


class BenchRun(unittest.TestCase):
    build = None

    def run_bench(self, *arguments):
        return subprocess.run([RUN, "--build", self.build, *arguments], capture_output=True,
                              text=True, check=False)

    def test_a_measure_is_one_line_of_the_promised_shape(self):
        result = self.run_bench("--samples", "3", "attach_latency")
        self.assertEqual(0, result.returncode, result.stderr)
        lines = result.stdout.splitlines()
        self.assertEqual(1, len(lines), result.stdout)
        measure = json.loads(lines[0])
        self.assertEqual(["name", "value", "unit", "p50", "p99", "conditions"], list(measure))
        self.assertEqual(("attach_latency", "us"), (measure["name"], measure["unit"]))
        self.assertEqual(measure["value"], measure["p50"])
        self.assertLessEqual(measure["p50"], measure["p99"])
        self.assertGreater(measure["p50"], 0)
        self.assertEqual(3, measure["conditions"]["samples"])
        self.assertIn("load average", result.stderr)

    def test_every_line_is_checked(self):
        bench = load()
        good = bench.line("attach_latency", "us", 2.5, 2.5, 3, samples=1)
        self.assertIsNone(bench.wrong_with(good))
        self.assertIsNone(bench.wrong_with(bench.line("idle_cpu", "percent", 1, 1, 1)))
        for key, value in {"name": 1, "value": "2", "unit": None, "p50": True, "p99": None,
                           "conditions": []}.items():
            self.assertIn(key, bench.wrong_with({**good, key: value}))
        self.assertIn("a latency in ms", bench.wrong_with({**good, "unit": "ms"}))
        self.assertIn("a rate in us", bench.wrong_with({**good, "name": "create_rate"}))
        self.assertIn("keys", bench.wrong_with({"name": "x"}))
        self.assertIn("keys", bench.wrong_with({**good, "more": 1}))

    def test_a_bench_that_cannot_run_fails(self):
        result = subprocess.run([RUN, "--build", "/nowhere", "placement_decision"],
                                capture_output=True, text=True, check=False)
        self.assertEqual(1, result.returncode)
        self.assertEqual("", result.stdout)
        self.assertIn("bench_placement failed", result.stderr)

    def test_names_are_checked_and_listed(self):
        result = self.run_bench("no_such_measure")
        self.assertEqual(2, result.returncode)
        self.assertIn("no such measure: no_such_measure", result.stderr)
        listed = self.run_bench("--list").stdout
        for name in ["create_latency", "attach_latency", "vcmdq_commands_per_second",
                     "sync_latency"]:
            self.assertIn(name, listed)


if __name__ == "__main__":
    BenchRun.build = sys.argv.pop(1)
    unittest.main()
