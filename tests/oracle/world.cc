// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/world.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::oracle {
namespace {

// Negative numbers that stand for fds that are none of the recorder's memfds or contexts.
constexpr int64_t kBadFd = -1;
constexpr int64_t kSecondKind = -2;  // a pipe for MAP_FILE, a memfd for BIND
constexpr int64_t kThirdKind = -3;   // /dev/null for MAP_FILE, a closed fd for BIND
constexpr int kClosedFd = 9999;

void Put(std::byte* to, const Field& field, uint64_t value) {
  std::memcpy(to + field.offset, &value, field.width);
}

uint64_t Get(const std::byte* from, const Field& field) {
  uint64_t value = 0;
  std::memcpy(&value, from + field.offset, field.width);
  return value;
}

}  // namespace

World::World(Player player, const Recording& recording)
    : player_(std::move(player)),
      page_size_(recording.page_size),
      memfds_(std::move(player_.memfds)) {
  for (size_t i = memfds_.size(); i < recording.memfd_sizes.size(); ++i) {
    const unsigned huge = recording.memfd_huge[i] ? MFD_HUGETLB : 0;
    memfds_.emplace_back(::memfd_create("recording", MFD_CLOEXEC | huge));
    if (::ftruncate(memfds_.back().get(), static_cast<off_t>(recording.memfd_sizes[i])) != 0) {
      memfds_.back().Reset();
    }
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) == 0) {
    pipe_.Reset(ends[0]);
    pipe_end_.Reset(ends[1]);
  }
  null_.Reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  foreign_.Reset(::memfd_create("foreign", MFD_CLOEXEC));
}

World::~World() {
  for (const Mapped& map : maps_) {
    if (map.size > 0) ::munmap(map.data, map.size);
  }
}

int World::FdOf(const Step& step, const char* name, uint64_t value) const {
  const auto number = static_cast<int64_t>(value);
  const bool bind = step.op == "BIND_IOMMUFD";
  if (number == kBadFd) return -1;
  if (number == kSecondKind) return bind ? foreign_.get() : pipe_.get();
  if (number == kThirdKind) return bind ? kClosedFd : null_.get();
  if (std::string_view(name) == "ctx") return contexts_.at(value).get();
  return memfds_.at(value).get();
}

void World::Fill(const IoctlStep& spec, const Step& step, std::byte* to) const {
  for (const auto& [field, value] : spec.fixed) Put(to, field, value);
  for (const Field& field : spec.in) {
    uint64_t value = step.args.Unsigned(field.name);
    const std::string_view name = field.name;
    const bool is_fd = name == "memfd" || name == "ctx";
    if (is_fd) value = static_cast<uint64_t>(FdOf(step, field.name, value));
    Put(to, field, value);
  }
  if (const uint64_t k = step.args.Unsigned("reserved_idx"); k > 0) {
    to[offsetof(uapi::IommuHwInfo, reserved) + k - 1] = std::byte{1};
  }
}

void World::Collect(const IoctlStep& spec, const Step& step, const std::byte* from,
                    const std::byte* buffer, Answer* answer) {
  for (const Field& field : spec.out) {
    answer->out.Set(field.name, absl::StrCat(Get(from, field)));
  }
  if (answer->rc == 0 && spec.event_fd != 0) {
    int fd = -1;
    std::memcpy(&fd, from + spec.event_fd, sizeof(fd));
    const auto free = std::ranges::find_if(events_, [](const UniqueFd& e) { return !e.valid(); });
    answer->out.Set("ev", absl::StrCat(free - events_.begin()));
    if (free != events_.end()) free->Reset(fd);
  }
  if (spec.out_count == nullptr || buffer == nullptr) return;
  uint64_t count = step.args.Unsigned(spec.out_count);
  if (spec.out_unit > 1) count = std::min(count, answer->out.Unsigned(spec.out_count));
  const size_t size = std::min<uint64_t>(count * spec.out_unit, UserMemory::kBufferSize);
  const bool ranges = std::string_view(spec.data) == "ranges";
  answer->out.Set(ranges ? "ranges" : "data", ToHex(buffer, size));
  if (step.op == "VIOMMU_ALLOC" && size >= 16) {
    uint64_t window[2];
    std::memcpy(window, buffer + (size - 16), sizeof(window));
    answer->out.Set("mmap_offset", absl::StrCat(window[0]));
    answer->out.Set("mmap_length", absl::StrCat(window[1]));
  }
}

bool World::RunIoctl(const IoctlStep& spec, const Step& step, Answer* answer) {
  const size_t size = step.args.Unsigned(spec.size_name);
  const auto given_size = static_cast<uint32_t>(size);
  const size_t room = std::max(size, spec.struct_size);
  if (room > UserMemory::kBufferSize) return false;
  // The whole struct as the recorder had it; the kernel is given the first `size` bytes.
  std::vector<std::byte> whole(spec.struct_size);
  Fill(spec, step, whole.data());
  const auto pointer = static_cast<UserMemory::Pointer>(step.args.Unsigned("ptr"));
  std::byte* buffer = nullptr;
  if (spec.pointer != 0) {
    buffer = memory_.PlaceBuffer(pointer, step.args.Bytes(spec.data));
    std::memcpy(&whole[spec.pointer], &buffer, sizeof(buffer));
  }
  std::memcpy(whole.data(), &given_size, sizeof(given_size));
  std::byte* given = memory_.PlaceStruct(room);
  // VFIO reads a whole struct whatever argsz says.
  const bool cut = !spec.on_cdev || step.op == "BIND_IOMMUFD";
  const size_t known = cut ? std::min(size, spec.struct_size) : spec.struct_size;
  std::memcpy(given, whole.data(), known);
  if (size < sizeof(given_size)) std::memcpy(given, &given_size, sizeof(given_size));
  if (size > spec.struct_size && cut) given[size - 1] = std::byte(step.args.Unsigned("tail"));
  if (step.args.Unsigned("ro") != 0) memory_.ProtectStruct();
  if (step.args.Has("cap_sys_resource")) {
    player_.set_sys_resource(step.args.Unsigned("cap_sys_resource") != 0);
  }
  answer->rc = player_.kernel->Ioctl(spec.on_cdev ? Cdev(step).get() : Context(step).get(),
                                     spec.request, given);
  memory_.UnprotectStruct();
  std::memcpy(whole.data(), given, known);
  const bool readable = pointer != UserMemory::kNull && pointer != UserMemory::kUnmapped;
  Collect(spec, step, whole.data(), readable ? buffer : nullptr, answer);
  return true;
}

int64_t World::RawIoctl(const Step& step) {
  constexpr uint32_t kSize = 64;
  std::byte* given = memory_.PlaceStruct(kSize);
  std::memcpy(given, &kSize, sizeof(kSize));
  return player_.kernel->Ioctl(Context(step).get(), step.args.Unsigned("request"), given);
}

int64_t World::Open(absl::StatusOr<UniqueFd> fd, UniqueFd* slot) {
  if (!fd.ok()) return -ErrnoOf(fd.status());
  *slot = *std::move(fd);
  return 0;
}

int64_t World::Map(const Step& step) {
  const uint64_t length = step.args.Unsigned("length");
  const uint64_t wanted = step.args.Unsigned("prot");
  const int protection = static_cast<int>(
      (wanted & 1 ? PROT_READ : 0) | (wanted & 2 ? PROT_WRITE : 0) | (wanted & 4 ? PROT_EXEC : 0));
  Mapped& map = maps_.at(step.args.Unsigned("map"));
  const uint64_t rounded = RoundUp(length);
  const auto remember = [&](void* data) -> int64_t {
    if (data == MAP_FAILED) return -errno;
    map = {static_cast<std::byte*>(data), rounded};
    return 0;
  };
  if (player_.recorded_machine) {
    const int sharing = step.args.Unsigned("shared") != 0 ? MAP_SHARED : MAP_PRIVATE;
    return remember(::mmap(nullptr, length, protection, sharing, Context(step).get(),
                           static_cast<off_t>(step.args.Unsigned("offset"))));
  }
  if (length == 0) return -EINVAL;
  auto region =
      player_.kernel->RegionForVmm(Context(step).get(), step.args.Unsigned("offset"), rounded);
  if (!region.ok()) {
    return ReasonOf(region.status()) == Reason::kNotFound ? -ENXIO : -ErrnoOf(region.status());
  }
  return remember(::mmap(nullptr, region->length, protection, MAP_SHARED, region->fd.get(),
                         static_cast<off_t>(region->offset)));
}

int64_t World::Unmap(const Step& step) {
  Mapped& map = maps_.at(step.args.Unsigned("map"));
  const size_t offset = step.args.Unsigned("offset");
  const size_t length = RoundUp(step.args.Unsigned("length"));
  if (offset % page_size_ != 0 || offset + length > map.size) return -EINVAL;
  if (::munmap(map.data + offset, length) != 0) return -errno;
  if (offset == 0) map.data += length;
  map.size -= length;
  return 0;
}

int64_t World::Read(const Step& step, Answer* answer) {
  const auto pointer = static_cast<UserMemory::Pointer>(step.args.Unsigned("ptr"));
  std::byte* buffer = memory_.PlaceBuffer(pointer, {});
  const size_t count = step.args.Unsigned("count");
  const int64_t rc = player_.kernel->ReadEvents(Event(step).get(), buffer, count);
  const bool read = rc > 0 && pointer == UserMemory::kValid;
  if (rc >= 0) answer->out.Set("data", ToHex(buffer, read ? static_cast<size_t>(rc) : 0));
  return rc;
}

int64_t World::Poll(const Step& step, Answer* answer) {
  pollfd event = {Event(step).get(), POLLIN | POLLOUT, 0};
  const int rc = ::poll(&event, 1, 0);
  answer->out.Set("revents", absl::StrCat(event.revents));
  return rc < 0 ? -errno : rc;
}

bool World::Run(const Step& step, Answer* answer) {
  if (const IoctlStep* spec = FindIoctlStep(step.op)) return RunIoctl(*spec, step, answer);
  if (step.op == "RAW_IOCTL") {
    answer->rc = RawIoctl(step);
  } else if (step.op == "OPEN_IOMMUFD") {
    answer->rc = Open(player_.kernel->OpenContext(), &Context(step));
  } else if (step.op == "CLOSE_IOMMUFD") {
    Context(step).Reset();
  } else if (step.op == "CDEV_OPEN") {
    const size_t device = step.args.Unsigned("dev");
    answer->rc = Open(player_.kernel->OpenDevice(player_.cdevs.at(device)), &Cdev(step));
  } else if (step.op == "CDEV_CLOSE") {
    Cdev(step).Reset();
  } else if (step.op == "MMAP") {
    answer->rc = Map(step);
  } else if (step.op == "MUNMAP") {
    answer->rc = Unmap(step);
  } else if (step.op == "READ_EVENT") {
    answer->rc = Read(step, answer);
  } else if (step.op == "PREAD_EVENT") {
    std::array<std::byte, 4096> buffer;
    const size_t count = std::min<uint64_t>(step.args.Unsigned("count"), buffer.size());
    const auto position = static_cast<off_t>(step.args.Unsigned("pos"));
    answer->rc = ::pread(Event(step).get(), buffer.data(), count, position);
    if (answer->rc < 0) answer->rc = -errno;
  } else if (step.op == "POLL_EVENT") {
    answer->rc = Poll(step, answer);
  } else if (step.op == "CLOSE_EVENT") {
    Event(step).Reset();
  } else {
    return false;
  }
  return true;
}

}  // namespace berth::oracle
