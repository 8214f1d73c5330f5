// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/kernel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

// The inode of a socket, 0 for anything else. An inode number is unique while its socket lives.
uint64_t SocketInode(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISSOCK(info.st_mode)) return 0;
  return info.st_ino;
}

void Drain(int fd) {
  char byte;
  while (::recv(fd, &byte, 1, MSG_DONTWAIT) > 0) {
  }
}

// Leaves no room to write at `client`, so that poll(2) never says POLLOUT: a vEVENTQ's fd is only
// for reading (eventq.c, iommufd_eventq_fops_poll).
void FillSendBuffer(int client) {
  const int least = 1;  // the kernel makes it a few KiB
  ::setsockopt(client, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
  const char byte = 0;
  while (::send(client, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
  }
}

// arm_smmu_handle_event(): the kinds of events that a guest hears of, and of its own stage only.
bool IsForGuest(const uapi::IommuVeventArmSmmuv3& event) {
  switch (uapi::kEvt0Id.Get(event.evt[0])) {
    case uapi::kEvtCBadSte:
    case uapi::kEvtFStreamDisabled:
    case uapi::kEvtCBadSubstreamid:
    case uapi::kEvtCBadCd:
    case uapi::kEvtFTranslation:
    case uapi::kEvtFAddrSize:
    case uapi::kEvtFAccess:
    case uapi::kEvtFPermission:
      return uapi::kEvt1S2.Get(event.evt[1]) == 0;
    default:
      return false;
  }
}

CmdqvConfig ConfigOf(const UnitSpec& spec) {
  CmdqvConfig config;
  config.vintfs = spec.vintfs;
  config.vcmdqs = spec.vcmdqs;
  config.sid_slots = spec.sid_slots;
  config.version = spec.version;
  config.forbidden_opcode = spec.forbidden_opcode;
  config.unmatched_vsid = spec.unmatched_vsid;
  config.reserved_bits = spec.reserved_bits;
  config.prod_overrun = spec.prod_overrun;
  return config;
}

}  // namespace

Kernel::Kernel(const HostSpec& host, Watch watch) : watch_(std::move(watch)), machine_(host) {
  for (const auto& function : machine_.functions) {
    Unit* unit = function->unit;
    if (function->spec.model != DeviceModel::kDmaTest || unit->dma) continue;
    DmaEngine::Config config;
    config.smmu = unit->smmu.get();
    config.is_gone = [this, unit](uint32_t sid) { return machine_.IsGone(unit, sid); };
    config.on_notice = [this, unit](const DmaNotice& notice) { OnDmaNotice(unit, notice); };
    unit->dma = std::make_unique<DmaEngine>(std::move(config));
  }
  for (const auto& unit : machine_.units) {
    if (unit->spec.profile != UnitProfile::kTegra241Cmdqv) continue;
    CmdqvConfig config = ConfigOf(unit->spec);
    config.sink = unit->smmu.get();
    config.poller = &machine_.poller;
    config.goes_wrong = [this, unit = unit.get()](HardwareFault fault, uint32_t sid) {
      if (fault == HardwareFault::kAtcTimeout) return !machine_.AnswersAtcInv(unit, sid);
      return machine_.faults.Meet(FaultKind::kStuckStatus, unit->spec.id);
    };
    unit->cmdqv = std::make_unique<Tegra241Cmdqv>(
        std::move(config), [this](const VintfError& error) { OnVintfError(error); });
  }
}

Kernel::~Kernel() {
  {
    absl::MutexLock lock(&mu_);
    for (auto& [inode, file] : files_) {
      if (file->cdev) file->cdev->Unbind();
      if (file->queue != nullptr) file->queue->wake_fd = -1;
      file->queue_pin.Reset();
    }
    for (const auto& cdev : mapped_cdevs_) cdev->Unbind();
    files_.clear();
    contexts_.clear();
  }
  // Their threads may be waiting for the lock, so they end without it.
  for (const auto& unit : machine_.units) {
    unit->cmdqv.reset();
    unit->dma.reset();
  }
}

Kernel::File* Kernel::Find(int fd) const {
  const uint64_t inode = SocketInode(fd);
  const auto found = inode != 0 ? files_.find(inode) : files_.end();
  return found != files_.end() ? found->second.get() : nullptr;
}

int Kernel::OpenFile(std::unique_ptr<File> file, UniqueFd* fd) {
  if (files_.size() >= kMaxFiles) return -ENFILE;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  file->server_end.Reset(ends[0]);
  UniqueFd client(ends[1]);
  if (file->queue != nullptr && file->queue->type == ObjectType::kVeventq) FillSendBuffer(ends[1]);
  // Nobody is to send anything here: least of all an fd that would live in the queue.
  ::shutdown(ends[0], SHUT_RD);
  const uint64_t inode = SocketInode(client.get());
  if (!watch_(ends[0], inode)) return -ENFILE;
  files_[inode] = std::move(file);
  *fd = std::move(client);
  return 0;
}

int Kernel::OpenContext(UniqueFd* fd) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  auto context = std::make_unique<Context>(&machine_);
  auto file = std::make_unique<File>();
  file->context = context.get();
  if (int rc = OpenFile(std::move(file), fd); rc != 0) return rc;
  const Context* key = context.get();
  contexts_[key] = std::move(context);
  return 0;
}

int Kernel::OpenDevice(const std::string& name, UniqueFd* fd) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  Function* function = machine_.FindByCdev(name);
  if (function == nullptr || machine_.IsGone(*function)) return -ENOENT;
  auto file = std::make_unique<File>();
  file->cdev = std::make_unique<Cdev>(function);
  return OpenFile(std::move(file), fd);
}

int Kernel::OpenEvents(Context* context, EventQueue* queue, UniqueFd* fd) {
  auto file = std::make_unique<File>();
  File* opened = file.get();
  opened->queue = queue;
  if (int rc = OpenFile(std::move(file), fd); rc != 0) return rc;
  queue->wake_fd = opened->server_end.get();
  opened->queue_pin = Pin<Object>(queue);
  opened->queue_context = context;
  ++context->pins;
  return 0;
}

absl::Duration Kernel::TakeStuckTime() {
  absl::Duration stuck;
  for (const auto& unit : machine_.units) {
    if (unit->cmdqv) stuck += unit->cmdqv->TakeStuckTime();
  }
  return stuck;
}

int Kernel::Ioctl(int fd, UserCall& user) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  TakeStuckTime();  // of what was closed: nobody waited for it
  const int rc = DispatchIoctl(fd, user);
  user.SetDuration(TakeStuckTime());
  return rc;
}

int Kernel::DispatchIoctl(int fd, UserCall& user) {
  File* file = Find(fd);
  if (file == nullptr || file->queue != nullptr) return -ENOTTY;
  if (file->cdev) {
    return file->cdev->Ioctl(user, [this](int context_fd, Context** context) {
      mu_.AssertHeld();
      const File* target = Find(context_fd);
      if (target == nullptr || target->context == nullptr) return -EBADFD;
      *context = target->context;
      return 0;
    });
  }
  Context* context = file->context;
  Ucmd ucmd = {*context, user, [this, context](EventQueue* queue, UniqueFd* out) {
                 mu_.AssertHeld();
                 return OpenEvents(context, queue, out);
               }};
  return ContextIoctl(ucmd);
}

int64_t Kernel::ReadEvents(int fd, size_t size, size_t writable, std::vector<std::byte>* out) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  const File* file = Find(fd);
  if (file == nullptr || file->queue == nullptr) return -EINVAL;
  if (file->queue->type == ObjectType::kFault) {
    constexpr size_t kPgfault = 40;  // struct iommu_hwpt_pgfault: whole ones only
    return size % kPgfault != 0 ? -ESPIPE : 0;
  }
  if (size < sizeof(uapi::IommufdVeventHeader)) return -EINVAL;
  // `fd` is the client's end itself, so that the wake-up byte can be taken out here, under the lock
  // that new events need too: readable stays exactly "has records".
  Drain(fd);
  int64_t rc = 0;
  *out = file->queue->Read(size, writable, &rc);
  file->queue->Wake();
  return rc;
}

int64_t Kernel::ReadRegion(int fd, uint64_t offset, size_t size, std::vector<std::byte>* out) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  const File* file = Find(fd);
  if (file != nullptr && file->queue != nullptr) return -ESPIPE;
  return file != nullptr && file->cdev ? file->cdev->Read(offset, size, out) : -EINVAL;
}

int64_t Kernel::WriteRegion(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  const File* file = Find(fd);
  if (file != nullptr && file->queue != nullptr) return -ESPIPE;
  return file != nullptr && file->cdev ? file->cdev->Write(offset, bytes) : -EINVAL;
}

int Kernel::Region(int fd, uint64_t offset, uint64_t length, UniqueFd* region) {
  absl::MutexLock lock(&mu_);
  ++calls_;
  const File* file = Find(fd);
  if (file != nullptr && file->cdev) return file->cdev->Region(offset, length, region);
  if (file == nullptr || file->context == nullptr) return -ENODEV;
  const Viommu* viommu = file->context->FindWindow(offset, length);
  if (viommu == nullptr) return -ENXIO;
  region->Reset(::fcntl(viommu->WindowFd(), F_DUPFD_CLOEXEC, 0));
  return region->valid() ? 0 : -errno;
}

void Kernel::OnLastClose(uint64_t inode) {
  absl::MutexLock lock(&mu_);
  const auto found = files_.find(inode);
  if (found == files_.end()) return;
  const std::unique_ptr<File> file = std::move(found->second);
  files_.erase(found);
  if (file->cdev) {
    if (!CloseCdev(file->cdev.get())) mapped_cdevs_.push_back(std::move(file->cdev));
    return;
  }
  Context* context = file->context;
  if (context != nullptr) {
    context->fd_open = false;
  } else {
    context = file->queue_context;
    file->queue->wake_fd = -1;
    file->queue_pin.Reset();
    --context->pins;
  }
  ReleaseIfUnpinned(context);
}

bool Kernel::CloseCdev(Cdev* cdev) {
  if (cdev->RetireBar() == -EBUSY) return false;
  Context* context = cdev->context;
  cdev->Unbind();
  if (context != nullptr) ReleaseIfUnpinned(context);
  return true;
}

void Kernel::ReleaseIfUnpinned(Context* context) {
  if (context->fd_open || context->pins > 0) return;
  if (context->RetireAllPage0()) contexts_.erase(context);
}

int Kernel::ReapPinned() {
  absl::MutexLock lock(&mu_);
  std::erase_if(mapped_cdevs_, [this](const auto& cdev) {
    mu_.AssertHeld();
    return CloseCdev(cdev.get());
  });
  std::vector<Context*> pinned;
  for (const auto& [key, context] : contexts_) {
    if (!context->fd_open && context->pins == 0) pinned.push_back(context.get());
  }
  auto left = static_cast<int>(mapped_cdevs_.size());
  for (Context* context : pinned) {
    ReleaseIfUnpinned(context);
    if (contexts_.contains(context)) ++left;
  }
  return left;
}

bool Kernel::idle() const {
  absl::MutexLock lock(&mu_);
  return files_.empty() && contexts_.empty();
}

Snapshot Kernel::TakeSnapshot() const {
  absl::MutexLock lock(&mu_);
  Snapshot snapshot;
  snapshot.contexts = static_cast<int>(contexts_.size());
  snapshot.calls = calls_;
  for (const auto& [key, context] : contexts_) {
    if (!context->fd_open) ++snapshot.pinned_contexts;
    context->ForEach(
        [&](const Object& object) { ++snapshot.objects[std::string(ToString(object.type))]; });
  }
  const auto mapped = static_cast<int>(mapped_cdevs_.size());
  snapshot.open_cdevs = snapshot.bound_devices = mapped;
  for (const auto& [inode, file] : files_) {
    if (!file->cdev) continue;
    ++snapshot.open_cdevs;
    if (file->cdev->device != nullptr) ++snapshot.bound_devices;
  }
  for (const auto& unit : machine_.units) {
    Snapshot::UnitState state = {unit->spec.id, 0, unit->trapped, unit->freed, {}};
    if (unit->cmdqv) {
      state.vintfs = unit->spec.vintfs - 1;
      for (const int vintf : unit->cmdqv->AllocatedVintfs()) {
        const auto hardware = unit->cmdqv->Snapshot(vintf);
        if (!hardware) continue;
        for (const auto& queue : hardware->lvcmdqs) AddCounts(queue.counters, &state.by_vcmdqs);
        state.allocated.push_back({vintf, *hardware});
      }
    }
    snapshot.units.push_back(std::move(state));
  }
  return snapshot;
}

void Kernel::Deliver(const std::string& unit, const void* event, size_t size, EventQueue* queue) {
  if (machine_.faults.Meet(FaultKind::kLostEvent, unit)) return queue->Lose();
  queue->Report(event, size);
}

void Kernel::OnVintfError(const VintfError& error) {
  absl::MutexLock lock(&mu_);
  const auto found = machine_.by_cookie.find(error.cookie);
  if (found == machine_.by_cookie.end()) return;
  const auto& queues = found->second->veventqs;
  const auto queue = queues.find(uapi::kVeventqTypeTegra241Cmdqv);
  if (queue == queues.end()) return;
  const uapi::IommuVeventTegra241Cmdqv event = {{error.lvcmdq_err_map[0], error.lvcmdq_err_map[1]}};
  Deliver(found->second->unit->spec.id, &event, sizeof(event), queue->second);
}

void Kernel::OnDmaNotice(const Unit* unit, const DmaNotice& notice) {
  absl::MutexLock lock(&mu_);
  Function* function = machine_.FindBySid(unit, notice.sid);
  if (function == nullptr || function->bound == nullptr) return;
  if (notice.interrupt) function->irqs.Raise(*notice.interrupt, *function->bound);
  if (notice.watched) function->irqs.Unmask(*function->bound);
  if (notice.event) Report(*function, *notice.event);
}

bool Kernel::ReportSmmuEvent(const std::string& cdev, const uapi::IommuVeventArmSmmuv3& event) {
  absl::MutexLock lock(&mu_);
  const Function* function = machine_.FindByCdev(cdev);
  return function != nullptr && Report(*function, event);
}

bool Kernel::Report(const Function& function, const uapi::IommuVeventArmSmmuv3& event) {
  if (function.event_viommu == nullptr || !IsForGuest(event)) return false;
  const auto& queues = function.event_viommu->veventqs;
  const auto queue = queues.find(uapi::kVeventqTypeArmSmmuv3);
  if (queue == queues.end()) return false;
  uapi::IommuVeventArmSmmuv3 translated = event;
  translated.evt[0] &= ~uapi::kEvt0Sid.mask();
  translated.evt[0] |= uapi::kEvt0Sid.Put(function.event_vsid);
  Deliver(function.unit->spec.id, &translated, sizeof(translated), queue->second);
  return true;
}

}  // namespace berth::emulator
