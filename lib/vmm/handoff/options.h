// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_OPTIONS_H_
#define BERTH_LIB_VMM_HANDOFF_OPTIONS_H_

#include <google/protobuf/struct.pb.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace berth::handoff {

// The exit codes of berth-handoff; a command that it became has its own.
enum class ExitCode {
  kDone = 0,
  kUsage = 2,    // the command line or the token file
  kRefused = 3,  // the agent refused the attachment or its confirmation
  kQemu = 4,     // QEMU cannot be reached, refused, or is not the process that was named
  kSystem = 6,   // the command could not be run
};

// A property of vfio-pci that goes along with device_add.
struct Property {
  std::optional<size_t> device;  // absent: of all devices
  std::string key;
  google::protobuf::Value value;
};

struct Options {
  std::string socket;
  std::string assignment;
  std::string token;
  std::string token_file;
  std::vector<std::string> command;  // empty: `qmp` is set
  std::string qmp;                   // QEMU's QMP socket
  std::string id = "berth";          // of the iommufd object; devices are ID-0, ID-1, ...
  pid_t pid = 0;                     // of QEMU; 0: who listens on `qmp`
  std::vector<Property> properties;
};

// Fills `options` from the command line and reads the token file. What follows the first "--" is
// the command. Returns false with *exit_status set when the program is to end (help, mistakes).
bool ParseOptions(const std::vector<std::string>& args, Options* options, int* exit_status);

// "[N:]KEY=TEXT" or "[N:]KEY:=JSON". Nothing when it is something else.
std::optional<Property> ParseProperty(const std::string& text);

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_OPTIONS_H_
