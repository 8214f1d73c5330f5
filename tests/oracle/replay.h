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

// Every step is either compared or excluded, under one name.
struct Report {
  struct Excluded {
    size_t steps = 0;
    size_t alike = 0;  // were made nevertheless, and answered as recorded
  };

  size_t steps = 0;  // of the recording
  size_t compared = 0;
  size_t agreeing = 0;
  std::map<std::string, Excluded> excluded;
  // Of the compared steps: compared but for what the name says.
  std::map<std::string, size_t> in_part;
  // In full, of the first steps that differ.
  std::vector<std::string> differences;

  void Add(const Report& other);
  [[nodiscard]] size_t ExcludedSteps() const;
  [[nodiscard]] bool Agrees() const { return compared == agreeing; }
};

// Plays all steps of `recording` and holds each answer against the recorded one: errno, ids, mmap
// offsets, lengths and counts written back, event bytes. Goes on after a difference, but what comes
// after the first one may follow from it.
Report Replay(const Recording& recording, Player player, size_t most_differences);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_REPLAY_H_
