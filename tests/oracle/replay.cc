// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/replay.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "tests/oracle/mock_oddities.h"

namespace berth::oracle {
namespace {

// Lines of a recording can be long: HWPT_INVALIDATE with thousands of entries.
constexpr size_t kMostOfLine = 600;

constexpr char kUndefined[] = "answer depends on memory behind the caller's buffer";
constexpr char kRawMmap[] = "mmap(2) with MAP_PRIVATE or PROT_EXEC: a context is a socket here";
constexpr char kIdRegisters[] = "bytes of the SMMU's ID registers in GET_HW_INFO";

// Why a step is not made at all on an emulator, or null. None of these changes anything in the
// kernel.
const char* Skipped(const Step& step) {
  constexpr uint64_t kExec = 4;
  if (step.op == "MMAP" &&
      (step.args.Unsigned("shared") == 0 || (step.args.Unsigned("prot") & kExec) != 0)) {
    return kRawMmap;
  }
  return nullptr;
}

bool HasIdRegisters(const Step& step) {
  return step.op == "GET_HW_INFO" && step.out.Has("data") &&
         step.out.Unsigned("out_data_type") == uapi::kHwInfoArmSmmuv3;
}

// What differs, empty when nothing does.
std::string Compare(const Step& step, const World::Answer& answer, bool recorded_machine) {
  std::string differences;
  if (answer.rc != step.rc) absl::StrAppend(&differences, " rc ", answer.rc, " not ", step.rc);
  for (const auto& [name, value] : step.out.all()) {
    if (name == "data" && !recorded_machine && HasIdRegisters(step)) continue;
    const std::string got = answer.out.Text(name);
    if (!answer.out.Has(name) || got != value) {
      absl::StrAppend(&differences, " ", name, " ", got.substr(0, kMostOfLine), " not ",
                      value.substr(0, kMostOfLine));
    }
  }
  return differences;
}

}  // namespace

void Report::Add(const Report& other) {
  steps += other.steps;
  compared += other.compared;
  agreeing += other.agreeing;
  for (const auto& [name, count] : other.excluded) excluded[name] += count;
  for (const auto& [name, count] : other.oddities) oddities[name] += count;
  differences.insert(differences.end(), other.differences.begin(), other.differences.end());
}

Report Replay(const Recording& recording, Player player, size_t most_differences) {
  Report report;
  const bool recorded_machine = player.recorded_machine;
  World world(std::move(player), recording);
  const auto differ = [&](const Step& step, const std::string& what) {
    if (report.differences.size() >= most_differences) return;
    report.differences.push_back(absl::StrCat(recording.path, " step ", step.number, " ", step.op,
                                              ":", what, "\n  ", step.line.substr(0, kMostOfLine)));
  };
  MockOddities oddities;
  for (const Step& step : recording.steps) {
    ++report.steps;
    if (recording.level == "A") {
      if (const char* what = oddities.Look(step)) ++report.oddities[what];
    }
    if (const char* why = recorded_machine ? nullptr : Skipped(step)) {
      ++report.excluded[why];
      continue;
    }
    World::Answer answer;
    const bool known = world.Run(step, &answer);
    if (step.undefined) {
      ++report.excluded[kUndefined];
      continue;
    }
    ++report.compared;
    if (!recorded_machine && HasIdRegisters(step)) ++report.excluded[kIdRegisters];
    const std::string differences =
        known ? Compare(step, answer, recorded_machine) : " is no op of format 1";
    if (differences.empty()) {
      ++report.agreeing;
    } else {
      differ(step, differences);
    }
  }
  return report;
}

}  // namespace berth::oracle
