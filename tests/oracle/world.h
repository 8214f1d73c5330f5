// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_WORLD_H_
#define BERTH_TESTS_ORACLE_WORLD_H_

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/iommufd/kernel_api.h"
#include "tests/oracle/ioctl_steps.h"
#include "tests/oracle/recording.h"
#include "tests/oracle/user_memory.h"

namespace berth::oracle {

// Whom a recording is played to.
struct Player {
  KernelApi* kernel = nullptr;
  // Names of the cdevs that stand for the recorded devices, by their number.
  std::vector<std::string> cdevs;
  // Gives CAP_SYS_RESOURCE to the next calls, or takes it.
  std::function<void(bool)> set_sys_resource;
  // A real kernel on a machine as the recorded one: contexts are mapped by mmap(2), in every way,
  // and ID registers are the same.
  bool recorded_machine = false;
  // The recorded memfds; made, without regard to adjacency, when there are none.
  std::vector<UniqueFd> memfds = {};
};

// The process that the recorder was: its fds, mappings and memory. A step makes one call.
class World {
 public:
  struct Answer {
    int64_t rc = 0;
    Values out;
  };

  World(Player player, const Recording& recording);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // False: no such op is known.
  bool Run(const Step& step, Answer* answer);

 private:
  struct Mapped {
    std::byte* data = nullptr;
    size_t size = 0;
  };

  bool RunIoctl(const IoctlStep& spec, const Step& step, Answer* answer);
  void Fill(const IoctlStep& spec, const Step& step, std::byte* to) const;
  void Collect(const IoctlStep& spec, const Step& step, const std::byte* from,
               const std::byte* buffer, Answer* answer);
  [[nodiscard]] int FdOf(const Step& step, const char* name, uint64_t value) const;
  int64_t RawIoctl(const Step& step);
  int64_t Map(const Step& step);
  int64_t Unmap(const Step& step);
  int64_t Read(const Step& step, Answer* answer);
  int64_t Poll(const Step& step, Answer* answer);
  int64_t Open(absl::StatusOr<UniqueFd> fd, UniqueFd* slot);
  UniqueFd& Context(const Step& step) { return contexts_.at(step.args.Unsigned("ctx")); }
  UniqueFd& Cdev(const Step& step) { return cdevs_.at(step.args.Unsigned("cdev")); }
  UniqueFd& Event(const Step& step) { return events_.at(step.args.Unsigned("ev")); }

  [[nodiscard]] uint64_t RoundUp(uint64_t length) const {
    return (length + page_size_ - 1) & ~(page_size_ - 1);
  }

  Player player_;
  const uint64_t page_size_;  // of the recorded machine
  UserMemory memory_;
  std::vector<UniqueFd> memfds_;
  UniqueFd pipe_;
  UniqueFd pipe_end_;
  UniqueFd null_;
  UniqueFd foreign_;  // what is no iommufd
  std::array<UniqueFd, 3> contexts_;
  std::array<UniqueFd, 4> cdevs_;
  std::array<UniqueFd, 24> events_;
  std::array<Mapped, 8> maps_;
};

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_WORLD_H_
