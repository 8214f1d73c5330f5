// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_VMM_FAKE_QEMU_H_
#define BERTH_TESTS_VMM_FAKE_QEMU_H_

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth {

// One QMP monitor that takes one connection: what it says on its own is as recorded from QEMU 9.2
// (greeting, events between answers), and it knows fds by name as QEMU does. It runs in a thread,
// so it is this process that has what it is given.
class FakeQemu {
 public:
  // `fails`: the command, by name, that is answered with an error.
  explicit FakeQemu(const std::string& path, const std::string& fails = "");
  // Waits until the connection has ended.
  ~FakeQemu() { Join(); }
  void Join();

  // What came, in order, without what a monitor needs of its own: "object-add {...}". After Join().
  [[nodiscard]] const std::vector<std::string>& commands() const { return commands_; }
  // By the name that getfd gave them. After Join().
  [[nodiscard]] const std::map<std::string, UniqueFd>& fds() const { return fds_; }

 private:
  void Serve();
  std::string Answer(const std::string& line, std::vector<UniqueFd> fds);

  const std::string fails_;
  UniqueFd listener_;
  std::vector<std::string> commands_;
  std::map<std::string, UniqueFd> fds_;
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_TESTS_VMM_FAKE_QEMU_H_
