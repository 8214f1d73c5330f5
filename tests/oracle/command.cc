// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/command.h"

#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <ostream>
#include <string>
#include <vector>

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

void Print(const std::string& name, const Report& report, std::ostream& out) {
  out << name << ": steps " << report.steps << " = compared " << report.compared << " + excluded "
      << report.ExcludedSteps() << "; agreeing " << report.agreeing << "\n";
  for (const auto& [why, count] : report.excluded) {
    out << "  excluded " << count.steps << ": " << why;
    if (count.alike > 0) out << " (" << count.alike << " answered alike)";
    out << "\n";
  }
  for (const auto& [what, count] : report.in_part) {
    out << "  compared " << count << " but for: " << what << "\n";
  }
  for (const std::string& difference : report.differences) out << difference << "\n";
}

int Run(const Flags& flags, const std::string& folder, std::ostream& out) {
  std::map<std::string, Report> levels;
  const std::vector<std::string> files = FindRecordings(flags.paths);
  if (files.empty()) {
    out << "berth-oracle-replay: no recordings there\n";
    return 2;
  }
  for (const std::string& file : files) {
    const auto recording = LoadRecording(file, flags.steps);
    if (!recording.ok()) {
      out << "berth-oracle-replay: " << recording.status().message() << "\n";
      return 2;
    }
    const auto report = flags.this_machine
                            ? ReplayOnThisMachine(*recording, flags.cdevs, flags.differences)
                            : ReplayOnEmulator(*recording, flags.shape, folder, flags.differences);
    if (!report.ok()) {
      out << "berth-oracle-replay: " << report.status().message() << "\n";
      return 2;
    }
    Print(file, *report, out);
    levels[recording->level].Add(*report);
  }
  bool agrees = true;
  for (auto& [level, report] : levels) {
    report.differences.clear();
    Print("level " + level, report, out);
    agrees = agrees && report.Agrees();
  }
  return agrees ? 0 : 1;
}

}  // namespace

int RunCommand(int argc, const char* const* argv, std::ostream& out) {
  Flags flags;
  CLI::App app("Plays recorded answers of a real kernel to the emulator.", "berth-oracle-replay");
  app.add_option("path", flags.paths, "recordings (.jsonl, .jsonl.xz) and folders of them")
      ->required()
      ->check(CLI::ExistingPath);
  app.add_option("--vintfs", flags.shape.vintfs, "of each unit, with the host's own");
  app.add_option("--lvcmdqs", flags.shape.lvcmdqs, "of each VINTF, instead of the recorded number");
  app.add_option("--sid-slots", flags.shape.sid_slots,
                 "of each VINTF, instead of the recorded number");
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, out);
  }
  std::string folder = (fs::temp_directory_path() / "berth-oracle-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 2;
  const int code = Run(flags, folder, out);
  fs::remove_all(folder);
  return code;
}

}  // namespace berth::oracle
