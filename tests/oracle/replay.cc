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
// What is given out for a region is a memfd, which anyone may map so; the kernel's
// iommufd_fops_mmap() does not let anyone.
constexpr char kPrivateMmap[] =
    "not emulated: EINVAL of mmap(2) with MAP_PRIVATE on a context, which is a socket here";
constexpr char kExecMmap[] =
    "not emulated: EPERM of mmap(2) with PROT_EXEC on a context, which is a socket here";
constexpr char kIdRegisters[] = "bytes of the SMMU's ID registers in GET_HW_INFO";

// Why a step is not made at all on an emulator, or null. None of these changes anything in the
// kernel.
const char* Skipped(const Step& step) {
  constexpr uint64_t kExec = 4;
  if (step.op != "MMAP") return nullptr;
  if (step.args.Unsigned("shared") == 0) return kPrivateMmap;
  return (step.args.Unsigned("prot") & kExec) != 0 ? kExecMmap : nullptr;
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
  for (const auto& [name, count] : other.excluded) {
    excluded[name].steps += count.steps;
    excluded[name].alike += count.alike;
  }
  for (const auto& [name, count] : other.in_part) in_part[name] += count;
  differences.insert(differences.end(), other.differences.begin(), other.differences.end());
}

size_t Report::ExcludedSteps() const {
  size_t sum = 0;
  for (const auto& [name, count] : excluded) sum += count.steps;
  return sum;
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
  // The machine that was recorded has the same driver.
  const bool mock = recording.level == "A" && !recorded_machine;
  MockOddities oddities;
  for (const Step& step : recording.steps) {
    ++report.steps;
    const char* oddity = mock ? oddities.Look(step) : nullptr;
    if (const char* why = recorded_machine ? nullptr : Skipped(step)) {
      ++report.excluded[why].steps;
      continue;
    }
    World::Answer answer;
    const bool known = world.Run(step, &answer);
    if (step.undefined) {
      ++report.excluded[kUndefined].steps;
      continue;
    }
    const std::string differences =
        known ? Compare(step, answer, recorded_machine) : " is no op of format 1";
    const bool alike = differences.empty();
    if (!alike) differ(step, differences);
    if (oddity != nullptr) {
      Report::Excluded& excluded = report.excluded[absl::StrCat("of the mock alone: ", oddity)];
      ++excluded.steps;
      excluded.alike += alike ? 1 : 0;
      continue;
    }
    ++report.compared;
    report.agreeing += alike ? 1 : 0;
    if (!recorded_machine && HasIdRegisters(step)) ++report.in_part[kIdRegisters];
  }
  return report;
}

}  // namespace berth::oracle
