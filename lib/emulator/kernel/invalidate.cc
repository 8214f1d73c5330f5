// SPDX-License-Identifier: Apache-2.0
//
// HWPT_INVALIDATE: Linux drivers/iommu/iommufd/hw_pagetable.c, iommufd_hwpt_invalidate(), over
// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c, arm_vsmmu_cache_invalidate().
#include <cerrno>

#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

using RawCommand16 = uapi::IommuViommuArmSmmuv3Invalidate;

// One kmalloc is at most 4 MiB.
constexpr uint32_t kMostCommands = (4U << 20) / sizeof(RawCommand16);
// Commands go to the SMMU in batches of one less than CMDQ_BATCH_ENTRIES.
constexpr uint32_t kBatch = 63;

// What a command of each kind may have set, beside what is replaced.
struct Allowed {
  uint64_t cmd0;
  uint64_t cmd1;
};

Allowed AllowedBits(uint8_t opcode) {
  using namespace uapi;  // NOLINT(google-build-using-namespace): a table of its names
  constexpr uint64_t kRange0 = kTlbi0Num.mask() | kTlbi0Scale.mask();
  constexpr uint64_t kRange1 = kTlbi1Ttl.mask() | kTlbi1Tg.mask();
  constexpr uint64_t kTlbi = kCmd0Opcode.mask() | kTlbi0Vmid.mask();
  constexpr uint64_t kCfgi = kCmd0Opcode.mask() | kCfgi0Sid.mask();
  switch (opcode) {
    case kCmdTlbiNsnhAll:
      return {kCmd0Opcode.mask(), 0};
    case kCmdTlbiNhAll:
      return {kTlbi, 0};
    case kCmdTlbiNhAsid:
      return {kTlbi | kTlbi0Asid.mask(), 0};
    case kCmdTlbiNhVa:
      return {kTlbi | kTlbi0Asid.mask() | kRange0,
              kTlbi1Leaf.mask() | kRange1 | kTlbi1Address.mask()};
    case kCmdTlbiNhVaa:
      return {kTlbi | kRange0, kTlbi1Leaf.mask() | kRange1 | kTlbi1Address.mask()};
    case kCmdCfgiCd:
      return {kCfgi, kCfgi1Leaf.mask()};
    case kCmdCfgiCdAll:
      return {kCfgi, 0};
    case kCmdAtcInv:
      // SSV, SSID and Global need substreams, which no unit here has.
      return {kCfgi, kAtc1Size.mask() | kAtc1Address.mask()};
    default:
      return {0, 0};
  }
}

// TLBI_NH_VA and _VAA: TTL and the range fields mean something only with a granule, and a granule
// alone nothing; with 16 KiB pages there is no level 1 leaf (Arm IHI 0070, 4.4.1).
bool IsRangeValid(const RawCommand16& command) {
  const uint64_t granule = uapi::kTlbi1Tg.Get(command.cmd[1]);
  const uint64_t level = uapi::kTlbi1Ttl.Get(command.cmd[1]);
  const uint64_t range =
      uapi::kTlbi0Num.Get(command.cmd[0]) | uapi::kTlbi0Scale.Get(command.cmd[0]);
  if (granule == 0) return (level | range) == 0;
  return (level | range) != 0 && !(granule == 2 && level == 1);
}

// arm_vsmmu_convert_user_cmd(): what a guest may send, with the VMID and the StreamID replaced.
int Convert(const Viommu& viommu, RawCommand16* command) {
  const auto opcode = static_cast<uint8_t>(uapi::kCmd0Opcode.Get(command->cmd[0]));
  const Allowed allowed = AllowedBits(opcode);
  if (allowed.cmd0 == 0) return -EIO;
  if ((command->cmd[0] & ~allowed.cmd0) != 0 || (command->cmd[1] & ~allowed.cmd1) != 0) return -EIO;
  switch (opcode) {
    case uapi::kCmdTlbiNsnhAll:
      command->cmd[0] = uapi::kCmd0Opcode.Put(uapi::kCmdTlbiNhAll);
      [[fallthrough]];
    case uapi::kCmdTlbiNhAll:
    case uapi::kCmdTlbiNhAsid:
    case uapi::kCmdTlbiNhVa:
    case uapi::kCmdTlbiNhVaa:
      if (!IsRangeValid(*command)) return -EIO;
      command->cmd[0] &= ~uapi::kTlbi0Vmid.mask();
      command->cmd[0] |= uapi::kTlbi0Vmid.Put(viommu.parent->vmid);
      return 0;
    case uapi::kCmdAtcInv:
      if (!viommu.unit->spec.ats) return -EIO;
      if (uapi::kAtc1Size.Get(command->cmd[1]) > uapi::kAtcMaxSize) return -EIO;
      break;
    default:
      break;
  }
  const auto vdevice = viommu.vdevices.find(uapi::kCfgi0Sid.Get(command->cmd[0]));
  if (vdevice == viommu.vdevices.end()) return -EIO;
  command->cmd[0] &= ~uapi::kCfgi0Sid.mask();
  command->cmd[0] |= uapi::kCfgi0Sid.Put(vdevice->second->device->function->sid());
  return 0;
}

// On the SMMU's own command queue. A time-out of a device is logged, no more
// (arm_smmu_cmdq_skip_err()), and the device forgets nothing.
void Issue(const RawCommand16& raw, Machine* machine, Unit* unit) {
  Command command;
  const RawCommand bits = {raw.cmd[0], raw.cmd[1]};
  if (Decode(bits, ReservedBits::kIgnore, &command) != DecodeResult::kOk) return;
  if (command.opcode != Opcode::kAtcInv || machine->AnswersAtcInv(unit, command.sid)) {
    unit->smmu->Invalidate(command);
  }
  ++unit->trapped[static_cast<uint8_t>(command.opcode)];
}

// *done is the entry_num that goes back.
int Invalidate(const UserCall& user, const uapi::IommuHwptInvalidate& cmd, Viommu* viommu,
               uint32_t* done) {
  if (cmd.entry_num > kMostCommands) {
    *done = cmd.entry_num;
    return -ENOMEM;
  }
  std::vector<RawCommand16> commands(cmd.entry_num);
  if (int rc =
          user.CopyFullArray(cmd, uapi::kViommuInvalidateArmSmmuv3,
                             std::as_writable_bytes(std::span(commands)), sizeof(RawCommand16));
      rc != 0) {
    return rc;
  }
  uint32_t issued = 0;
  for (*done = 0; *done < commands.size();) {
    if (int rc = Convert(*viommu, &commands[*done]); rc != 0) return rc;
    ++*done;
    if (*done != commands.size() && *done - issued != kBatch) continue;
    for (; issued < *done; ++issued) {
      Issue(commands[issued], &viommu->context->machine(), viommu->unit);
    }
    (void)viommu->unit->smmu->Sync();
  }
  return 0;
}

int InvalidateObject(const Ucmd& ucmd, const uapi::IommuHwptInvalidate& cmd, uint32_t* done) {
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  if (cmd.entry_num != 0 && (cmd.data_uptr == 0 || cmd.entry_len == 0 ||
                             cmd.entry_len > ucmd.context.machine().page_size ||
                             cmd.entry_num > uapi::kHwptInvalidateMaxEntries)) {
    return -EINVAL;
  }
  if (ucmd.context.FindAny(cmd.hwpt_id) == nullptr) return -ENOENT;
  if (Viommu* viommu = ucmd.context.Find<Viommu>(cmd.hwpt_id)) {
    return viommu->mock != nullptr ? MockInvalidateViommu(ucmd.user, cmd, *viommu, done)
                                   : Invalidate(ucmd.user, cmd, viommu, done);
  }
  if (HwptNested* nested = ucmd.context.Find<HwptNested>(cmd.hwpt_id)) {
    return nested->mock ? MockInvalidateNested(ucmd.user, cmd, nested, done) : -EOPNOTSUPP;
  }
  return -EINVAL;
}

}  // namespace

int HwptInvalidate(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuHwptInvalidate>();
  uint32_t done = 0;
  const int rc = InvalidateObject(ucmd, cmd, &done);
  cmd.entry_num = done;
  return ucmd.user.Respond() != 0 ? -EFAULT : rc;
}

}  // namespace berth::emulator
