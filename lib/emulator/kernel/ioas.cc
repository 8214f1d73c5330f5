// SPDX-License-Identifier: Apache-2.0
//
// Linux drivers/iommu/iommufd/ioas.c, and OPTION of main.c.
#include <algorithm>
#include <cerrno>
#include <limits>
#include <set>

#include "lib/emulator/kernel/ops.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
// In one ALLOW_IOVAS. Linux goes on while it finds memory for them.
constexpr size_t kMaxAllowedRanges = 1 << 20;
constexpr uint32_t kMapFlags =
    uapi::kIoasMapFixedIova | uapi::kIoasMapWriteable | uapi::kIoasMapReadable;

int CheckMapFlags(uint32_t flags, std::initializer_list<uint64_t> values) {
  if ((flags & ~kMapFlags) != 0) return -EOPNOTSUPP;
  if (std::ranges::any_of(values, [](uint64_t value) { return value == kMax; })) return -EOVERFLOW;
  if ((flags & (uapi::kIoasMapWriteable | uapi::kIoasMapReadable)) == 0) return -EINVAL;
  return 0;
}

// iopt_alloc_pages(): who calls pays when pages are pinned.
template <typename Cmd>
int OpenPages(const Ucmd& ucmd, UniqueFd file, uint64_t start, const Cmd& cmd,
              std::shared_ptr<Pages>* pages) {
  Machine& machine = ucmd.context.machine();
  const int rc = Pages::Open(std::move(file), start, cmd.length, machine.page_size, pages);
  if (rc != 0) return rc;
  (*pages)->writable = (cmd.flags & uapi::kIoasMapWriteable) != 0;
  if (machine.limits_memlock) {
    const AccountMode mode = ucmd.context.account_mm ? AccountMode::kProcess : AccountMode::kUser;
    (*pages)->account = std::make_unique<MemlockAccount>(&machine.memlock, mode, ucmd.user.payer());
  }
  return 0;
}

// iopt_... charge_all(): moves what `context` has pinned to `payer`, or nothing of it.
int ChangePayer(const Context& context, const Payer& payer) {
  std::set<MemlockAccount*> accounts;
  context.ForEach([&](const Object& object) {
    if (object.type != ObjectType::kIoas) return;
    static_cast<const Ioas&>(object).iopt.ForEachPages([&](const Pages* pages) {
      if (pages->account) accounts.insert(pages->account.get());
    });
  });
  for (auto account = accounts.begin(); account != accounts.end(); ++account) {
    const int rc = (*account)->ChargeToo(payer);
    if (rc == 0) continue;
    while (account != accounts.begin()) (*--account)->Abort(payer);
    return rc;
  }
  for (MemlockAccount* account : accounts) account->Commit(payer);
  return 0;
}

int OptionRlimitMode(uapi::IommuOption& cmd, Ucmd& ucmd) {
  if (cmd.object_id != 0) return -EOPNOTSUPP;
  Context& context = ucmd.context;
  if (cmd.op == uapi::kOptionOpGet) {
    cmd.val64 = context.account_mm ? 1 : 0;
    return 0;
  }
  if (cmd.op != uapi::kOptionOpSet) return -EOPNOTSUPP;
  if ((ucmd.user.flags() & kMaySetRlimitMode) == 0) return -EPERM;
  if (!context.empty()) return -EBUSY;
  if (cmd.val64 > 1) return -EINVAL;
  context.account_mm = cmd.val64 == 1;
  return 0;
}

int OptionHugePages(uapi::IommuOption& cmd, Context& context) {
  Ioas* ioas = context.Find<Ioas>(cmd.object_id);
  if (ioas == nullptr) return -ENOENT;
  if (cmd.op == uapi::kOptionOpGet) {
    cmd.val64 = ioas->iopt.large_pages() ? 1 : 0;
    return 0;
  }
  if (cmd.op != uapi::kOptionOpSet) return -EOPNOTSUPP;
  if (cmd.val64 > 1) return -EINVAL;
  return cmd.val64 == 0 ? ioas->iopt.DisableLargePages() : ioas->iopt.EnableLargePages();
}

}  // namespace

int IoasAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasAlloc>();
  if (cmd.flags != 0) return -EOPNOTSUPP;
  NewObject<Ioas> ioas(&ucmd.context, ucmd.context.machine().page_size);
  if (ioas.error() != 0) return ioas.error();
  cmd.out_ioas_id = ioas->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  ioas.Install();
  return 0;
}

int IoasIovaRanges(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasIovaRanges>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  Ioas* ioas = ucmd.context.Find<Ioas>(cmd.ioas_id);
  if (ioas == nullptr) return -ENOENT;
  const std::vector<uapi::IommuIovaRange> holes = ioas->iopt.Holes();
  const size_t room = cmd.num_iovas;
  cmd.num_iovas = static_cast<uint32_t>(holes.size());
  cmd.out_iova_alignment = ioas->iopt.alignment();
  const size_t count = std::min(room, holes.size());
  if (int rc = ucmd.user.CopyToUser(holes.data(), count * sizeof(holes[0])); rc != 0) return rc;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  return holes.size() > room ? -EMSGSIZE : 0;
}

int IoasAllowIovas(Ucmd& ucmd) {
  const auto& cmd = ucmd.As<uapi::IommuIoasAllowIovas>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  Ioas* ioas = ucmd.context.Find<Ioas>(cmd.ioas_id);
  if (ioas == nullptr) return -ENOENT;
  std::map<uint64_t, uint64_t> seen;  // last -> start
  std::vector<uapi::IommuIovaRange> ranges;
  for (uint32_t i = 0; i < cmd.num_iovas; ++i) {
    uapi::IommuIovaRange range;
    if (int rc = ucmd.user.CopyFromUser(i * sizeof(range), &range, sizeof(range)); rc != 0) {
      return rc;
    }
    if (range.start >= range.last) return -EINVAL;
    const auto overlap = seen.lower_bound(range.start);
    if (overlap != seen.end() && overlap->second <= range.last) return -EINVAL;
    if (ranges.size() == kMaxAllowedRanges) return -ENOMEM;
    seen[range.last] = range.start;
    ranges.push_back(range);
  }
  return ioas->iopt.SetAllowed(ranges);
}

int IoasMapFile(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasMapFile>();
  if (int rc = CheckMapFlags(cmd.flags, {cmd.iova, cmd.length}); rc != 0) return rc;
  Ioas* ioas = ucmd.context.Find<Ioas>(cmd.ioas_id);
  if (ioas == nullptr) return -ENOENT;
  if (cmd.length == 0) return -EINVAL;
  uint64_t last = 0;
  if (__builtin_add_overflow(cmd.start, cmd.length - 1, &last)) return -EOVERFLOW;
  UniqueFd file;
  if (int rc = ucmd.user.TakeInnerFd(&file); rc != 0) return rc;
  std::shared_ptr<Pages> pages;
  if (int rc = OpenPages(ucmd, std::move(file), cmd.start, cmd, &pages); rc != 0) return rc;
  if (int rc = ioas->iopt.Map({{pages, cmd.start, cmd.length}}, cmd.flags, &cmd.iova); rc != 0) {
    return rc;
  }
  return ucmd.user.Respond();
}

// iopt_map_user_pages(). What the caller has at its addresses comes along as a file.
int IoasMap(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasMap>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  if (int rc = CheckMapFlags(cmd.flags, {cmd.iova, cmd.length}); rc != 0) return rc;
  Ioas* ioas = ucmd.context.Find<Ioas>(cmd.ioas_id);
  if (ioas == nullptr) return -ENOENT;
  uint64_t end = 0;
  if (__builtin_add_overflow(cmd.user_va, cmd.length, &end)) return -EOVERFLOW;
  UniqueFd file;
  if (ucmd.user.TakeInnerFd(&file) != 0) return -ENOMEM;
  std::shared_ptr<Pages> pages;
  const uint64_t offset = ucmd.user.user_offset();
  if (int rc = OpenPages(ucmd, std::move(file), offset, cmd, &pages); rc != 0) return rc;
  pages->user = true;
  pages->user_fault = (ucmd.user.flags() & kUserFault) != 0;
  pages->va_minus_offset = cmd.user_va - offset;
  if (int rc = ioas->iopt.Map({{pages, offset, cmd.length}}, cmd.flags, &cmd.iova); rc != 0) {
    return rc;
  }
  return ucmd.user.Respond();
}

int IoasCopy(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasCopy>();
  if (int rc = CheckMapFlags(cmd.flags, {cmd.length, cmd.src_iova, cmd.dst_iova}); rc != 0) {
    return rc;
  }
  const Ioas* source = ucmd.context.Find<Ioas>(cmd.src_ioas_id);
  if (source == nullptr) return -ENOENT;
  std::vector<Extent> extents;
  if (int rc = source->iopt.Find(cmd.src_iova, cmd.length, &extents); rc != 0) return rc;
  Ioas* target = ucmd.context.Find<Ioas>(cmd.dst_ioas_id);
  if (target == nullptr) return -ENOENT;
  if (int rc = target->iopt.Map(extents, cmd.flags, &cmd.dst_iova); rc != 0) return rc;
  return ucmd.user.Respond();
}

int IoasUnmap(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuIoasUnmap>();
  Ioas* ioas = ucmd.context.Find<Ioas>(cmd.ioas_id);
  if (ioas == nullptr) return -ENOENT;
  uint64_t unmapped = 0;
  int rc = 0;
  if (cmd.iova == 0 && cmd.length == kMax) {
    rc = ioas->iopt.UnmapAll(&unmapped);
  } else if (cmd.iova == kMax || cmd.length == kMax) {
    rc = -EOVERFLOW;
  } else {
    rc = ioas->iopt.Unmap(cmd.iova, cmd.length, &unmapped);
  }
  // Also after an error: what lay below the offending area is gone.
  for (const HwptPaging* hwpt : ioas->hwpts) {
    hwpt->unit->smmu->OnStage2Change(*ioas->iopt.stage2(), hwpt->vmid);
  }
  if (rc != 0) return rc;
  cmd.length = unmapped;
  return ucmd.user.Respond();
}

int IoasChangeProcess(Ucmd& ucmd) {
  if (ucmd.As<uapi::IommuIoasChangeProcess>().reserved != 0) return -EOPNOTSUPP;
  bool has_user_pages = false;
  ucmd.context.ForEach([&](const Object& object) {
    if (object.type != ObjectType::kIoas) return;
    has_user_pages = has_user_pages || static_cast<const Ioas&>(object).iopt.HasUserPages();
  });
  return has_user_pages ? -EINVAL : ChangePayer(ucmd.context, ucmd.user.payer());
}

// vfio_compat.c, iommufd_vfio_ioas().
int VfioIoas(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuVfioIoas>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  Context& context = ucmd.context;
  switch (cmd.op) {
    case uapi::kVfioIoasGet:
      if (context.vfio_ioas == 0) return -ENODEV;
      cmd.ioas_id = context.vfio_ioas;
      return ucmd.user.Respond();
    case uapi::kVfioIoasSet:
      if (context.Find<Ioas>(cmd.ioas_id) == nullptr) return -ENOENT;
      context.vfio_ioas = cmd.ioas_id;
      return 0;
    case uapi::kVfioIoasClear:
      context.vfio_ioas = 0;
      return 0;
    default:
      return -EOPNOTSUPP;
  }
}

int Option(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuOption>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  int rc = -EOPNOTSUPP;
  if (cmd.option_id == uapi::kOptionRlimitMode) rc = OptionRlimitMode(cmd, ucmd);
  if (cmd.option_id == uapi::kOptionHugePages) rc = OptionHugePages(cmd, ucmd.context);
  return rc != 0 ? rc : ucmd.user.Respond();
}

}  // namespace berth::emulator
