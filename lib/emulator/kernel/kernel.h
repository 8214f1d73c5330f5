// SPDX-License-Identifier: Apache-2.0
//
// The emulated kernel: contexts, cdevs and event queues behind fds, and the machine under them. It
// knows nothing of packets; Server carries calls to it and tells it of last closes.
#ifndef BERTH_LIB_EMULATOR_KERNEL_KERNEL_H_
#define BERTH_LIB_EMULATOR_KERNEL_KERNEL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/host_spec.h"
#include "lib/emulator/kernel/cdev.h"
#include "lib/emulator/kernel/context.h"
#include "lib/emulator/kernel/machine.h"
#include "lib/emulator/kernel/user_call.h"

namespace berth::emulator {

// What an emulator holds, at one moment.
struct Snapshot {
  struct Vintf {
    int index = 0;
    VintfSnapshot hardware;
  };
  struct UnitState {
    std::string id;
    int vintfs = 0;           // that can be allocated
    CommandCounts trapped;    // by opcode, since the start
    CommandCounts by_vcmdqs;  // by opcode, since the start, freed VINTFs too
    std::vector<Vintf> allocated;
  };
  int contexts = 0;
  int pinned_contexts = 0;  // without an open fd
  int open_cdevs = 0;       // those that only a mapping keeps, too
  int bound_devices = 0;
  std::map<std::string, int> objects;  // by type
  uint64_t calls = 0;
  std::vector<UnitState> units;
};

// Thread-safe: one lock for everything, as nothing in here waits.
class Kernel {
 public:
  // Called, with the lock held, for the server's end of every fd that is given out: at its hang-up
  // OnLastClose(inode) is to be called. Returns false when the end cannot be watched.
  using Watch = std::function<bool(int server_end, uint64_t inode)>;

  // `host` must be valid.
  Kernel(const HostSpec& host, Watch watch);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // 0, or -EMFILE and friends; -ENOENT for an unknown cdev.
  int OpenContext(UniqueFd* fd);
  int OpenDevice(const std::string& name, UniqueFd* fd);

  // `fd` is this process' dup of what the caller called on. The results are those of ioctl(2).
  int Ioctl(int fd, UserCall& user);
  // `writable`: how much of the caller's buffer of `size` bytes can be written.
  int64_t ReadEvents(int fd, size_t size, size_t writable, std::vector<std::byte>* out);
  int64_t ReadRegion(int fd, uint64_t offset, size_t size, std::vector<std::byte>* out);
  int64_t WriteRegion(int fd, uint64_t offset, std::span<const std::byte> bytes);
  // A dup of the memfd behind a page0 window, or a cdev's region: 0, or as mmap(2) of the fd,
  // -ENXIO and -EINVAL.
  int Region(int fd, uint64_t offset, uint64_t length, UniqueFd* region);

  // No process has the fd any more.
  void OnLastClose(uint64_t inode);

  // Contexts and cdevs without an fd that only mappings of page0 or of a BAR keep: looks again
  // whether those are gone. Returns how many are left; as long as there are any, call again soon.
  int ReapPinned();
  // Nothing is open and nothing pinned.
  [[nodiscard]] bool idle() const;

  [[nodiscard]] Snapshot TakeSnapshot() const;
  // What goes wrong on purpose. Thread-safe by itself. Whoever carries ioctls asks it about each
  // before Ioctl(), which does not wait.
  FaultPlan& faults() { return machine_.faults; }
  // Hands an SMMU event record of `cdev`'s function to its vIOMMU, as the event queue's interrupt
  // does (arm_smmu_handle_event, arm_vmaster_report_event): false when nobody is to get it.
  bool ReportSmmuEvent(const std::string& cdev, const uapi::IommuVeventArmSmmuv3& event);

 private:
  // What an fd leads to: a struct file.
  struct File {
    UniqueFd server_end;
    Context* context = nullptr;
    std::unique_ptr<Cdev> cdev;
    // An event queue's fd pins the queue and its context.
    Pin<Object> queue_pin;
    EventQueue* queue = nullptr;
    Context* queue_context = nullptr;
  };

  File* Find(int fd) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int OpenFile(std::unique_ptr<File> file, UniqueFd* fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int OpenEvents(Context* context, EventQueue* queue, UniqueFd* fd)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int DispatchIoctl(int fd, UserCall& user) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Duration TakeStuckTime() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The last close of a cdev: false while a mapping of its BAR keeps it.
  bool CloseCdev(Cdev* cdev) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReleaseIfUnpinned(Context* context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnVintfError(const VintfError& error) ABSL_LOCKS_EXCLUDED(mu_);
  void Deliver(const std::string& unit, const void* event, size_t size, EventQueue* queue)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnDmaNotice(const Unit* unit, const DmaNotice& notice) ABSL_LOCKS_EXCLUDED(mu_);
  bool Report(const Function& function, const uapi::IommuVeventArmSmmuv3& event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Watch watch_;
  // Outlives the contexts, and its hardware threads call OnVintfError().
  Machine machine_;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<File>> files_ ABSL_GUARDED_BY(mu_);
  // Without an fd; a VMA is as good as one.
  std::vector<std::unique_ptr<Cdev>> mapped_cdevs_ ABSL_GUARDED_BY(mu_);
  std::map<const Context*, std::unique_ptr<Context>> contexts_ ABSL_GUARDED_BY(mu_);
  uint64_t calls_ ABSL_GUARDED_BY(mu_) = 0;
};

// Files of all kinds that an emulator has open at once.
inline constexpr size_t kMaxFiles = 16384;

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_KERNEL_H_
