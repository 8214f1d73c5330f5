// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/control_service.h"

#include <string>

#include "lib/emulator/hardware/command.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;
using CountMap = google::protobuf::Map<std::string, uint64_t>;

void PutCounts(const CommandCounts& counts, CountMap* map) {
  for (const auto& [opcode, count] : counts) {
    (*map)[std::string(ToString(static_cast<Opcode>(opcode)))] = count;
  }
}

void PutVintf(const Snapshot::Vintf& vintf, pb::VintfStats* out) {
  out->set_index(static_cast<uint32_t>(vintf.index));
  out->set_vmid(vintf.hardware.vmid);
  out->set_sid_slots_used(static_cast<uint32_t>(vintf.hardware.sid_slots.size()));
  for (const LvcmdqSnapshot& queue : vintf.hardware.lvcmdqs) {
    pb::LvcmdqStats* stats = out->add_lvcmdqs();
    stats->set_mapped(queue.mapped);
    stats->set_enabled(queue.enabled);
    stats->set_log2_commands(queue.log2size);
    CommandCounts counts;
    AddCounts(queue.counters, &counts);
    PutCounts(counts, stats->mutable_commands());
    stats->set_command_errors(queue.counters.command_errors);
    stats->set_fetch_errors(queue.counters.fetch_errors);
    stats->set_init_errors(queue.counters.init_errors);
  }
}

}  // namespace

pb::EmulatorStats StatsToProto(const Snapshot& snapshot) {
  pb::EmulatorStats stats;
  stats.set_contexts(static_cast<uint32_t>(snapshot.contexts));
  stats.set_pinned_contexts(static_cast<uint32_t>(snapshot.pinned_contexts));
  stats.set_open_cdevs(static_cast<uint32_t>(snapshot.open_cdevs));
  stats.set_bound_devices(static_cast<uint32_t>(snapshot.bound_devices));
  for (const auto& [type, count] : snapshot.objects) {
    (*stats.mutable_objects())[type] = static_cast<uint32_t>(count);
  }
  stats.set_calls(snapshot.calls);
  for (const Snapshot::UnitState& unit : snapshot.units) {
    pb::UnitStats* out = stats.add_units();
    out->set_id(unit.id);
    out->set_vintfs(static_cast<uint32_t>(unit.vintfs));
    out->set_vintfs_used(static_cast<uint32_t>(unit.allocated.size()));
    PutCounts(unit.trapped, out->mutable_trapped_commands());
    PutCounts(unit.by_vcmdqs, out->mutable_vcmdq_commands());
    for (const Snapshot::Vintf& vintf : unit.allocated) PutVintf(vintf, out->add_allocated());
  }
  return stats;
}

grpc::ServerUnaryReactor* ControlService::GetStats(grpc::CallbackServerContext* context,
                                                   const pb::GetStatsRequest* /*request*/,
                                                   pb::EmulatorStats* response) {
  *response = StatsToProto(kernel_.TakeSnapshot());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace berth::emulator
