// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/process_cpu.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::bench {

// proc(5): the 14th and 15th field of stat.
absl::StatusOr<double> CpuSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
  }
  const std::vector<std::string> fields = absl::StrSplit(text.substr(name_end + 2), ' ');
  double ticks = 0;
  for (const size_t field : {11, 12}) {
    double value = 0;
    if (field >= fields.size() || !absl::SimpleAtod(fields[field], &value)) {
      return absl::InternalError("cannot read /proc/PID/stat");
    }
    ticks += value;
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace berth::bench
