// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/exec.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::handoff {
namespace {

// What stands for "{name}"; the name itself in braces when it is none of ours.
absl::StatusOr<std::string> Value(const std::string& name, const Attachment& attachment) {
  if (name == "iommufd") return absl::StrCat(attachment.iommufd());
  const size_t colon = name.find(':');
  const std::string kind = name.substr(0, colon);
  uint32_t number = 0;
  const bool numbered =
      colon != std::string::npos && absl::SimpleAtoi(name.substr(colon + 1), &number);
  if (!numbered || (kind != "device" && kind != "address")) return absl::StrCat("{", name, "}");
  if (number >= attachment.devices().size()) {
    return Error(Reason::kDeviceUnknown,
                 absl::StrCat("{", name, "}: the assignment has ", attachment.devices().size(),
                              " devices, counted from 0"));
  }
  const HandedDevice& device = attachment.devices()[number];
  return kind == "device" ? absl::StrCat(device.cdev.get()) : device.address;
}

absl::StatusOr<std::string> ExpandOne(const std::string& text, const Attachment& attachment) {
  std::string out;
  size_t done = 0;
  for (size_t open = 0; (open = text.find('{', done)) != std::string::npos;) {
    const size_t close = text.find_first_of("{}", open + 1);
    if (close == std::string::npos) break;
    if (text[close] == '{') {  // the first opens something else
      out.append(text, done, close - done);
      done = close;
      continue;
    }
    out.append(text, done, open - done);
    BERTH_ASSIGN_OR_RETURN(const std::string value,
                           Value(text.substr(open + 1, close - open - 1), attachment));
    out += value;
    done = close + 1;
  }
  return out.append(text, done);
}

bool MakeInheritable(int fd) { return ::fcntl(fd, F_SETFD, 0) == 0; }

}  // namespace

absl::StatusOr<std::vector<std::string>> Expand(const std::vector<std::string>& command,
                                                const Attachment& attachment) {
  std::vector<std::string> expanded;
  for (const std::string& argument : command) {
    BERTH_ASSIGN_OR_RETURN(expanded.emplace_back(), ExpandOne(argument, attachment));
  }
  return expanded;
}

std::vector<std::string> DescribeInEnvironment(const Attachment& attachment) {
  std::vector<std::string> variables = {
      absl::StrCat("BERTH_IOMMUFD=", attachment.iommufd()),
      absl::StrCat("BERTH_DEVICES=", attachment.devices().size())};
  for (size_t i = 0; i < attachment.devices().size(); ++i) {
    const HandedDevice& device = attachment.devices()[i];
    const std::string name = absl::StrCat("BERTH_DEVICE_", i);
    variables.push_back(absl::StrCat(name, "=", device.cdev.get()));
    variables.push_back(absl::StrCat(name, "_ADDRESS=", device.address));
    variables.push_back(absl::StrCat(name, "_ID=", device.id));
  }
  return variables;
}

absl::Status Exec(const std::vector<std::string>& command, const Attachment& attachment) {
  bool inheritable = MakeInheritable(attachment.iommufd());
  for (const HandedDevice& device : attachment.devices()) {
    inheritable = inheritable && MakeInheritable(device.cdev.get());
  }
  if (!inheritable) return ErrnoToStatus(errno, "F_SETFD");
  std::vector<std::string> ours = DescribeInEnvironment(attachment);
  std::vector<char*> environment;
  // First, because getenv(3) takes the first of a name.
  for (std::string& variable : ours) environment.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  environment.push_back(nullptr);
  std::vector<std::string> copy = command;
  std::vector<char*> arguments;
  for (std::string& argument : copy) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  ::execvpe(arguments[0], arguments.data(), environment.data());
  return ErrnoToStatus(errno, absl::StrCat("cannot run ", command[0]));
}

}  // namespace berth::handoff
