// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_DAEMON_EMULATOR_FOLDER_H_
#define BERTH_TESTS_AGENT_DAEMON_EMULATOR_FOLDER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth::testing {

// A fresh folder with a host file in it, for emulators that somebody starts there. At the end those
// emulators are killed and the folder is removed.
class EmulatorFolder {
 public:
  EmulatorFolder();
  ~EmulatorFolder();
  EmulatorFolder(const EmulatorFolder&) = delete;
  EmulatorFolder& operator=(const EmulatorFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  // One unit with three free VINTFs and two GPUs: "0000:01:00.0", "0000:01:00.1".
  [[nodiscard]] std::string host_file() const { return path_ + "/host.yaml"; }
  [[nodiscard]] std::string emulator_dir() const { return path_ + "/emulator"; }
  // The program that was built.
  [[nodiscard]] static std::string Program();

  // The process that listens there; -1 when none does.
  pid_t Find();
  // kill -9, and waits until it is gone. Leaves the exit status to whoever started it.
  void Kill(pid_t pid);

 private:
  std::string path_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_DAEMON_EMULATOR_FOLDER_H_
