// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_REPLAY_H_
#define BERTH_TESTS_ORACLE_REPLAY_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "tests/oracle/recording.h"
#include "tests/oracle/world.h"

namespace berth::oracle {

struct Report {
  size_t steps = 0;     // of the recording
  size_t compared = 0;  // in every respect that is not named in `excluded`
  size_t agreeing = 0;
  // Steps that were not compared, or compared but for what the name says.
  std::map<std::string, size_t> excluded;
  // Steps that show an oddity which only the kernel's mock driver has; they are compared.
  std::map<std::string, size_t> oddities;
  // In full, of the first steps that differ.
  std::vector<std::string> differences;

  void Add(const Report& other);
  [[nodiscard]] bool Agrees() const { return compared == agreeing; }
};

// Plays all steps of `recording` and holds each answer against the recorded one: errno, ids, mmap
// offsets, lengths and counts written back, event bytes. Goes on after a difference, but what comes
// after the first one may follow from it.
Report Replay(const Recording& recording, Player player, size_t most_differences);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_REPLAY_H_
