// SPDX-License-Identifier: Apache-2.0
//
// berth-oracle-replay: plays recorded answers of a real kernel to the emulator, or to the kernel of
// this machine (README.md).
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>

#include "absl/strings/match.h"
#include "tests/oracle/hosts.h"
#include "tests/oracle/this_machine.h"

namespace berth::oracle {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::vector<std::string> paths;
  HostShape shape;
  bool this_machine = false;
  std::vector<std::string> cdevs;
  size_t steps = std::numeric_limits<size_t>::max();
  size_t differences = 5;
};

bool IsRecording(const std::string& name) {
  return absl::EndsWith(name, ".jsonl") || absl::EndsWith(name, ".jsonl.xz");
}

// Files as they are named, and all recordings in folders.
std::vector<std::string> FindRecordings(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (IsRecording(entry.path().string())) files.push_back(entry.path().string());
    }
  }
  std::ranges::sort(files);
  return files;
}

void Print(const std::string& name, const Report& report) {
  std::cout << name << ": steps " << report.steps << ", compared " << report.compared
            << ", agreeing " << report.agreeing << "\n";
  for (const auto& [why, count] : report.excluded) {
    std::cout << "  excluded " << count << ": " << why << "\n";
  }
  for (const auto& [what, count] : report.oddities) {
    std::cout << "  of the mock alone " << count << ": " << what << "\n";
  }
  for (const std::string& difference : report.differences) std::cout << difference << "\n";
}

int Run(const Flags& flags, const std::string& folder) {
  std::map<std::string, Report> levels;
  const std::vector<std::string> files = FindRecordings(flags.paths);
  if (files.empty()) {
    std::cerr << "berth-oracle-replay: no recordings there\n";
    return 2;
  }
  for (const std::string& file : files) {
    const auto recording = LoadRecording(file, flags.steps);
    if (!recording.ok()) {
      std::cerr << "berth-oracle-replay: " << recording.status().message() << "\n";
      return 2;
    }
    const auto report = flags.this_machine
                            ? ReplayOnThisMachine(*recording, flags.cdevs, flags.differences)
                            : ReplayOnEmulator(*recording, flags.shape, folder, flags.differences);
    if (!report.ok()) {
      std::cerr << "berth-oracle-replay: " << report.status().message() << "\n";
      return 2;
    }
    Print(file, *report);
    levels[recording->level].Add(*report);
  }
  bool agrees = true;
  for (auto& [level, report] : levels) {
    report.differences.clear();
    Print("level " + level, report);
    agrees = agrees && report.Agrees();
  }
  return agrees ? 0 : 1;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Plays recorded answers of a real kernel to the emulator.", "berth-oracle-replay");
  app.add_option("path", flags.paths, "recordings (.jsonl, .jsonl.xz) and folders of them")
      ->required()
      ->check(CLI::ExistingPath);
  app.add_option("--vintfs", flags.shape.vintfs, "of each unit, with the host's own");
  app.add_option("--lvcmdqs", flags.shape.lvcmdqs, "of each VINTF");
  app.add_option("--sid-slots", flags.shape.sid_slots, "of each VINTF");
  app.add_option("--device-units", flags.shape.device_units,
                 "the unit of each device, as numbers from 0")
      ->delimiter(',');
  app.add_flag("--this-machine", flags.this_machine,
               "play to the kernel of this machine, by its /dev/iommu, instead of an emulator");
  app.add_option("--cdevs", flags.cdevs,
                 "with --this-machine: names of the cdevs that stand for the recorded devices")
      ->delimiter(',');
  app.add_option("--steps", flags.steps, "play no more than so many of each recording");
  app.add_option("--differences", flags.differences, "show so many of each recording");
  CLI11_PARSE(app, argc, argv);
  std::string folder = (fs::temp_directory_path() / "berth-oracle-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 2;
  const int code = Run(flags, folder);
  fs::remove_all(folder);
  return code;
}

}  // namespace
}  // namespace berth::oracle

int main(int argc, char** argv) { return berth::oracle::Main(argc, argv); }
