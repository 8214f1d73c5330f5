// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/hardware_agent.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/emulator/kernel/tegra241_cmdqv.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/wire/encode.h"
#include "lib/wire/event_channel.h"
#include "lib/wire/server.h"

namespace berth {
namespace {

constexpr uint64_t kSession = 0x5e55;
constexpr uint32_t kPsid = 0x2a;

template <typename T>
wire::Message WithFd(const berth_vmm_header& header, const T& reply, UniqueFd fd) {
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(fd));
  return wire::EncodeReply(header, reply, std::move(fds));
}

wire::Message Done(const berth_vmm_header& header) {
  return wire::EncodeReply(header, berth_vmm_empty_reply{});
}

}  // namespace

class HardwareAgent::Impl : public wire::Handler {
 public:
  Impl(const std::string& socket_path, Ats ats);
  ~Impl() override;

  emulator::LvcmdqCounters Counters(int lvcmdq) const {
    return *cmdqv_->hardware().Counters(vintf_, lvcmdq);
  }
  // The trapped commands, in order.
  std::vector<wire::Command> Trapped() const;
  int attachments() const { return attachments_; }

  void OnConnect(wire::ConnectionId, wire::Peer) override {}
  void OnCall(wire::ConnectionId, wire::Call call, wire::ReplyHandle reply) override;
  void OnDisconnect(wire::ConnectionId) override {}
  void OnPeerExit(wire::WatchId) override {}

 private:
  wire::Message Answer(const wire::Call& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_hello& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_get_unit& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_get_device& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_get_page0& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_get_iova_ranges& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_unmap_memory& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_set_stream& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_alloc_queue& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_free_queue& call);
  wire::Message Do(const berth_vmm_header& header, const wire::Invalidate& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_reset_guest& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_detach& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_hand_off& call);
  wire::Message Do(const berth_vmm_header& header, const berth_vmm_confirm_hand_off& call);
  wire::Message MapMemory(const wire::Call& call, const berth_vmm_map_memory& body);
  void ForwardError(const emulator::VintfError& error);

  const Ats ats_;
  std::unique_ptr<emulator::Tegra241Cmdqv> cmdqv_;
  int vintf_ = 0;
  std::shared_ptr<const UniqueFd> memory_;
  uint64_t memory_iova_ = 0;
  std::atomic<int> attachments_ = 0;
  mutable absl::Mutex mu_;
  wire::EventChannel events_ ABSL_GUARDED_BY(mu_);
  std::vector<wire::Command> trapped_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<wire::WireServer> server_;
};

HardwareAgent::Impl::Impl(const std::string& socket_path, Ats ats) : ats_(ats) {
  cmdqv_ = std::make_unique<emulator::Tegra241Cmdqv>(
      emulator::CmdqvConfig{}, [this](const emulator::VintfError& error) { ForwardError(error); });
  vintf_ = cmdqv_->AllocVintf(1, 0);
  absl::StatusOr<UniqueFd> listener = wire::WireServer::Listen(socket_path, 0600);
  EXPECT_TRUE(listener.ok()) << listener.status();
  auto server = wire::WireServer::Start(*std::move(listener), this, {});
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

HardwareAgent::Impl::~Impl() {
  server_.reset();
  cmdqv_.reset();
}

std::vector<wire::Command> HardwareAgent::Impl::Trapped() const {
  const absl::MutexLock lock(&mu_);
  return trapped_;
}

void HardwareAgent::Impl::ForwardError(const emulator::VintfError& error) {
  const absl::MutexLock lock(&mu_);
  if (!events_.valid()) return;
  berth_vmm_event event = {};
  event.source = BERTH_VMM_EVENT_CMDQV;
  event.data[0] = error.lvcmdq_err_map[0];
  event.data[1] = error.lvcmdq_err_map[1];
  events_.Send(kSession, event);
}

void HardwareAgent::Impl::OnCall(wire::ConnectionId, wire::Call call, wire::ReplyHandle reply) {
  reply.Send(std::make_shared<const wire::Message>(Answer(call)));
}

wire::Message HardwareAgent::Impl::Answer(const wire::Call& call) {
  if (const auto* body = std::get_if<berth_vmm_map_memory>(&call.body)) {
    return MapMemory(call, *body);
  }
  return std::visit(
      [&](const auto& body) {
        if constexpr (std::is_same_v<std::decay_t<decltype(body)>, berth_vmm_map_memory>) {
          return wire::Message{};
        } else {
          return Do(call.header, body);
        }
      },
      call.body);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_hello& call) {
  if (std::string(call.token) != "secret") {
    return wire::EncodeError(header, Error(Reason::kWrongToken, "the attach token is wrong"));
  }
  ++attachments_;
  auto pair = wire::EventChannel::Create();
  {
    const absl::MutexLock lock(&mu_);
    events_ = std::move(pair->agent);
  }
  berth_vmm_hello_reply reply = {};
  reply.reply.header.session_id = kSession;
  reply.version = BERTH_VMM_VERSION;
  reply.unit_count = reply.device_count = reply.max_regions = 1;
  reply.iova_alignment = 4096;
  return WithFd(header, reply, std::move(pair->vmm));
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_get_unit&) {
  berth_vmm_unit_reply reply = {};
  wire::CopyText("smmu3.0", reply.id);
  reply.vcmdqs = static_cast<uint32_t>(cmdqv_->lvcmdqs_per_vintf());
  reply.sid_slots = 16;
  reply.max_queue_log2 = 19;
  uapi::IommuHwInfoArmSmmuv3 smmu = {};
  if (ats_ == Ats::kYes) smmu.idr[0] |= static_cast<uint32_t>(uapi::kIdr0Ats.mask());
  reply.hw_info_type = uapi::kHwInfoArmSmmuv3;
  reply.hw_info_length = sizeof(smmu);
  std::memcpy(reply.hw_info, &smmu, sizeof(smmu));
  return wire::EncodeReply(header, reply);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_get_device&) {
  berth_vmm_device_reply reply = {};
  wire::CopyText("0000:01:00.0", reply.address);
  return WithFd(header, reply, UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_get_page0&) {
  berth_vmm_page0_reply reply = {};
  reply.kind = BERTH_VMM_REGION_MEMFD;
  reply.length = emulator::kPage0Size;
  const int page0 = ::fcntl(cmdqv_->Page0Fd(vintf_), F_DUPFD_CLOEXEC, 0);
  return WithFd(header, reply, UniqueFd(page0));
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_get_iova_ranges&) {
  berth_vmm_iova_ranges_reply reply = {};
  reply.range_count = 1;
  reply.ranges[0] = {.first = 0, .last = UINT64_MAX >> 16};
  return wire::EncodeReply(header, reply);
}

wire::Message HardwareAgent::Impl::MapMemory(const wire::Call& call,
                                             const berth_vmm_map_memory& body) {
  memory_ = std::make_shared<const UniqueFd>(::fcntl(call.fd.get(), F_DUPFD_CLOEXEC, 0));
  memory_iova_ = body.iova;
  return Done(call.header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_unmap_memory&) {
  memory_.reset();
  return Done(header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_set_stream& call) {
  if (call.mode != BERTH_VMM_STREAM_ABORT) cmdqv_->AddSid(vintf_, call.vsid, kPsid);
  return Done(header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_alloc_queue& call) {
  auto memory = emulator::QueueMemory::FromFile(memory_, call.iova - memory_iova_, call.length);
  const auto log2size = static_cast<uint32_t>(std::countr_zero(call.length / 16));
  const int error =
      cmdqv_->MapLvcmdq(vintf_, static_cast<int>(call.index), std::move(memory), log2size);
  return error == 0 ? Done(header)
                    : wire::EncodeError(header, ErrnoToStatus(-error, "HW_QUEUE_ALLOC"));
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_free_queue& call) {
  cmdqv_->UnmapLvcmdq(vintf_, static_cast<int>(call.index));
  return Done(header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const wire::Invalidate& call) {
  const absl::MutexLock lock(&mu_);
  trapped_.insert(trapped_.end(), call.commands.begin(), call.commands.end());
  berth_vmm_invalidate_reply reply = {};
  reply.handled = call.fixed.count;
  return wire::EncodeReply(header, reply);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_reset_guest&) {
  for (int i = cmdqv_->lvcmdqs_per_vintf() - 1; i >= 0; --i) cmdqv_->UnmapLvcmdq(vintf_, i);
  const std::optional<emulator::VintfSnapshot> vintf = cmdqv_->Snapshot(vintf_);
  for (const emulator::SidSlot& slot : vintf->sid_slots) {
    cmdqv_->RemoveSid(vintf_, slot.slot);
  }
  return Done(header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_detach&) {
  Do(header, berth_vmm_reset_guest{});
  return Done(header);
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header, const berth_vmm_hand_off&) {
  return wire::EncodeError(header, Error(Reason::kUnknownMessage, "BROKERED"));
}

wire::Message HardwareAgent::Impl::Do(const berth_vmm_header& header,
                                      const berth_vmm_confirm_hand_off&) {
  return wire::EncodeError(header, Error(Reason::kUnknownMessage, "BROKERED"));
}

HardwareAgent::HardwareAgent(const std::string& socket_path, Ats ats)
    : impl_(std::make_unique<Impl>(socket_path, ats)) {}
HardwareAgent::~HardwareAgent() = default;
emulator::LvcmdqCounters HardwareAgent::Counters(int lvcmdq) const {
  return impl_->Counters(lvcmdq);
}
std::vector<std::array<uint64_t, 2>> HardwareAgent::Trapped() const { return impl_->Trapped(); }
int HardwareAgent::attachments() const { return impl_->attachments(); }

}  // namespace berth
