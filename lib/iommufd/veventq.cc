// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/veventq.h"

#include <endian.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/viommu.h"

namespace berth {
namespace {

constexpr size_t kRecordsPerRead = 64;
constexpr size_t kMaxRecordSize =
    sizeof(uapi::IommufdVeventHeader) + sizeof(uapi::IommuVeventArmSmmuv3);

constexpr size_t PayloadWords(Veventq::Type type) {
  return (type == Veventq::Type::kArmSmmuv3 ? sizeof(uapi::IommuVeventArmSmmuv3)
                                            : sizeof(uapi::IommuVeventTegra241Cmdqv)) /
         sizeof(uint64_t);
}

absl::Status Malformed(size_t at, const char* what) {
  return Error(Reason::kSystemError,
               absl::StrCat("vEVENTQ: ", what, " at byte ", at, " of what the kernel gave"));
}

}  // namespace

absl::StatusOr<Veventq> Veventq::Create(const Viommu& viommu, Type type, uint32_t depth) {
  auto arg = Sized<uapi::IommuVeventqAlloc>();
  arg.viommu_id = viommu.id();
  arg.type = static_cast<uint32_t>(type);
  arg.veventq_depth = depth;
  arg.out_veventq_fd = -1;
  BERTH_RETURN_IF_ERROR(
      viommu.context().Call(uapi::kIommuVeventqAlloc, &arg, {{"type", std::to_string(arg.type)}}));
  return Veventq(viommu.context(), arg.out_veventq_id, UniqueFd(arg.out_veventq_fd), type);
}

Veventq& Veventq::operator=(Veventq&& other) noexcept {
  if (this != &other) {
    // The fd of before is closed first: its queue cannot be destroyed as long as it is open.
    fd_ = std::exchange(other.fd_, UniqueFd());
    type_ = other.type_;
    KernelObject::operator=(std::move(other));
  }
  return *this;
}

absl::Status Veventq::Destroy() {
  fd_.Reset();
  return KernelObject::Destroy();
}

uint32_t Veventq::Forget() {
  fd_.Reset();
  return KernelObject::Forget();
}

absl::StatusOr<std::vector<Vevent>> Veventq::Read() {
  std::array<std::byte, kRecordsPerRead * kMaxRecordSize> buffer;
  const size_t room = kRecordsPerRead *
                      (sizeof(uapi::IommufdVeventHeader) + PayloadWords(type_) * sizeof(uint64_t));
  const ssize_t size = context().kernel().ReadEvents(fd_.get(), buffer.data(), room);
  if (size < 0) return ErrnoToStatus(static_cast<int>(-size), "read of a vEVENTQ");
  return ParseVevents(type_, std::span(buffer).first(static_cast<size_t>(size)));
}

absl::StatusOr<std::vector<Vevent>> ParseVevents(Veventq::Type type,
                                                 std::span<const std::byte> bytes) {
  std::vector<Vevent> events;
  for (size_t at = 0; at < bytes.size();) {
    if (!events.empty() && events.back().kind == Vevent::Kind::kLost) {
      return Malformed(at, "a record after one of lost events");
    }
    uapi::IommufdVeventHeader header;
    if (bytes.size() - at < sizeof(header)) return Malformed(at, "half a header");
    std::memcpy(&header, bytes.data() + at, sizeof(header));
    at += sizeof(header);
    if ((header.flags & ~uapi::kVeventLostEvents) != 0) return Malformed(at, "an unknown flag");
    Vevent event;
    event.sequence = header.sequence;
    if (header.flags != 0) {
      event.kind = Vevent::Kind::kLost;
    } else {
      const size_t size = PayloadWords(type) * sizeof(uint64_t);
      if (bytes.size() - at < size) return Malformed(at, "half a payload");
      std::memcpy(event.data.data(), bytes.data() + at, size);
      for (uint64_t& word : event.data) word = le64toh(word);
      at += size;
    }
    events.push_back(event);
  }
  return events;
}

}  // namespace berth
