// SPDX-License-Identifier: Apache-2.0
//
// How the recorded ioctls are spelt: which argument stands where in which struct.
#ifndef BERTH_TESTS_ORACLE_IOCTL_STEPS_H_
#define BERTH_TESTS_ORACLE_IOCTL_STEPS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/iommufd/uapi/iommufd.h"

namespace berth::oracle {

// A number of a struct and its name in a recording.
struct Field {
  const char* name;
  size_t offset;
  size_t width;  // bytes
};

struct IoctlStep {
  const char* op;
  uapi::Request request;
  size_t struct_size;
  bool on_cdev;           // else on a context
  const char* size_name;  // of the struct's first u32
  std::vector<Field> in;
  std::vector<Field> out;
  size_t pointer = 0;         // offset of the user pointer; 0: none
  const char* data = "data";  // name of the bytes there
  // Bytes behind the pointer that belong to the answer of a successful call: so many times the
  // argument or output of that name.
  const char* out_count = nullptr;
  size_t out_unit = 0;
  size_t event_fd = 0;  // offset of a new event fd; 0: none
  // A value that the struct of this step has and the recording does not name.
  std::vector<std::pair<Field, uint64_t>> fixed = {};
};

// Null: `op` is no ioctl with a struct of its own.
const IoctlStep* FindIoctlStep(const std::string& op);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_IOCTL_STEPS_H_
