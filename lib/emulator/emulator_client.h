// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_EMULATOR_CLIENT_H_
#define BERTH_LIB_EMULATOR_EMULATOR_CLIENT_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/argument.h"
#include "lib/emulator/protocol.h"
#include "lib/iommufd/kernel_api.h"

namespace berth::emulator {

// KernelApi over a socket to a berth-emulator. Each call in progress has a channel to itself; idle
// channels are kept for the next. A process that has forked makes new ones.
//
// Beyond the contract of KernelApi: a context, cdev or event fd polls POLLHUP when the emulator has
// ended.
class EmulatorClient : public KernelApi {
 public:
  // Connects at the first call. `capable` says what the emulated kernel's capable() finds: by
  // default what the calling thread has on the real one.
  explicit EmulatorClient(std::string socket_path, Capable capable = HasCapability);
  ~EmulatorClient() override;
  EmulatorClient(const EmulatorClient&) = delete;
  EmulatorClient& operator=(const EmulatorClient&) = delete;

  absl::StatusOr<UniqueFd> OpenContext() override;
  absl::StatusOr<UniqueFd> OpenDevice(const std::string& name) override;
  int Ioctl(int fd, unsigned long request, void* arg) override;  // NOLINT(google-runtime-int)
  ssize_t ReadEvents(int fd, void* buffer, size_t size) override;
  ssize_t ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) override;
  absl::StatusOr<MappedRegion> RegionForVmm(int context, uint64_t offset, uint64_t length) override;

 private:
  struct Call;
  struct Answer;

  // One round trip. 0, or -ESHUTDOWN when the emulator has gone, or a negative errno of this
  // side's.
  int Transact(const Call& call, Answer* answer);
  int TransactOn(int channel, const Call& call, Answer* answer);
  // A call whose out part goes to `buffer`.
  ssize_t Read(const Call& call, void* buffer);
  absl::StatusOr<UniqueFd> Open(const Call& call, const std::string& what);
  // An idle channel, or a new one. *fresh says which. 0 or a negative errno.
  int TakeChannel(UniqueFd* channel, bool* fresh) ABSL_LOCKS_EXCLUDED(mu_);
  void PutChannel(UniqueFd channel) ABSL_LOCKS_EXCLUDED(mu_);
  void DropChannels() ABSL_LOCKS_EXCLUDED(mu_);

  const std::string socket_path_;
  const Capable capable_;
  absl::Mutex mu_;
  std::vector<UniqueFd> idle_ ABSL_GUARDED_BY(mu_);
  pid_t owner_ ABSL_GUARDED_BY(mu_) = 0;  // the process that made `idle_`
};

// Channels kept when idle; more calls at once make more, which close after the call.
inline constexpr size_t kMaxIdleChannels = 16;

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_EMULATOR_CLIENT_H_
