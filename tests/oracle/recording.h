// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_RECORDING_H_
#define BERTH_TESTS_ORACLE_RECORDING_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth::oracle {

// The members of a JSON object of the format: all are numbers or strings.
class Values {
 public:
  void Set(const std::string& key, std::string value) { values_[key] = std::move(value); }
  [[nodiscard]] bool Has(const std::string& key) const { return values_.contains(key); }
  // Zero, or an empty string, for what is not there.
  [[nodiscard]] uint64_t Unsigned(const std::string& key) const;
  [[nodiscard]] int64_t Signed(const std::string& key) const;
  [[nodiscard]] std::string Text(const std::string& key) const;
  [[nodiscard]] std::vector<std::byte> Bytes(const std::string& key) const;
  [[nodiscard]] const std::map<std::string, std::string>& all() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

// One call and the answer of the kernel that was asked.
struct Step {
  uint64_t number = 0;
  std::string op;
  Values args;
  int64_t rc = 0;  // what the call returned, or a negative errno
  Values out;
  bool undefined = false;  // "nd": the answer depends on what no recording says
  std::string line;        // as it stands in the file
};

struct Recording {
  std::string path;
  std::string level;  // "A" or "D"
  uint64_t page_size = 0;
  std::vector<uint64_t> memfd_sizes;
  std::vector<bool> memfd_huge;
  int devices = 0;

  std::vector<Step> steps;
};

// Reads a file of format 1 (README.md), plain or, by the suffix .xz, through `xz -dc`. At most
// `limit` steps. Errors: NOT_FOUND, BAD_MESSAGE, SYSTEM_ERROR.
absl::StatusOr<Recording> LoadRecording(const std::string& path, size_t limit);

// Lower case, without separators.
std::string ToHex(const void* data, size_t size);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_RECORDING_H_
