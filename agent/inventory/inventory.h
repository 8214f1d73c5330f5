// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_INVENTORY_H_
#define BERTH_AGENT_INVENTORY_INVENTORY_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/device_lookup.h"
#include "agent/grants/event_news.h"
#include "agent/inventory/event_health.h"
#include "agent/inventory/pci_sysfs.h"
#include "agent/inventory/unit_probe.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/agent/v1/inventory.pb.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/base/clock.h"
#include "lib/base/ids.h"
#include "lib/iommufd/kernel_api.h"

namespace berth {

// The host as last looked at. Thread-safe; Refresh() from one thread at a time.
class Inventory : public DeviceLookup {
 public:
  struct Options {
    std::string sysfs_root;
    internal::v1::InventoryConfig config;
    std::map<std::string, std::string> labels;
    std::string attach_endpoint;
  };

  // `kernel` and `clock` must outlive it. Nothing is known before the first Refresh().
  Inventory(KernelApi* kernel, Clock* clock, Options options);

  // What an agent before this one has found of the same kernel; before the first Refresh().
  void Remember(const std::vector<internal::v1::JournaledUnitFacts>& units);
  // Of that, only which VINTFs are lost: also when no grant was kept.
  void RememberLost(const std::vector<internal::v1::JournaledUnitFacts>& units);
  // What the next one should know. On the thread of Refresh().
  [[nodiscard]] std::vector<internal::v1::JournaledUnitFacts> ToRemember() const;

  // Looks again. `kernel` is what is known of the kernel already; when that is an error (it could
  // not be started), it is not asked, and the error stands for its answer. A unit that no device
  // could be probed of yet is left out, and its devices are not assignable. When the kernel or
  // sysfs cannot be read, the condition KernelHealthy turns false, what was known stays, and the
  // error is returned; after KERNEL_GONE units are probed anew. VINTFs are counted at the first
  // look that finds all devices of their unit idle.
  absl::Status Refresh(const absl::Status& kernel = absl::OkStatus());

  // The hardware of a unit has refused what its number of VINTFs or its health promised; from the
  // next Refresh() on the inventory says so. VINTF_EXHAUSTED with `vintfs_in_use` (as far as Berth
  // knows): there are not more than those; counted again when all devices of the unit are idle.
  // HARDWARE_TIMEOUT: the unit has the taint kTimeoutTaint until one of its devices that is idle
  // gets a VINTF. Both are looked into once in kFaultRecheck. Any thread.
  void NoteUnitFault(const UnitId& unit, const absl::Status& fault, int vintfs_in_use);
  // `missing` more VINTFs of a unit are lost: no grant has them and the hardware does not give
  // them, since `by` has ended; negative: some are back. They are not handed out until the kernel's
  // end, or until they are counted again as in NoteUnitFault(). FindUnit() knows it at once, the
  // inventory from the next Refresh() on. Any thread.
  void NoteLostVintfs(const UnitId& unit, int missing, const std::string& by);
  // While it has the taint its condition "Responding" is false, too.
  static constexpr char kTimeoutTaint[] = "berth/hardware-timeout";
  static constexpr absl::Duration kFaultRecheck = absl::Minutes(1);

  // What the event queues of a grant say (GrantManager::EventSink); from the next Refresh() on the
  // inventory shows it. Returns whether a taint comes or goes, for which the next regular look is
  // late. Any thread.
  bool NoteEvents(const AssignmentUid& by, const std::vector<EventNews>& news) {
    return news.empty() ? events_.Forget(by) : events_.Note(by, news);
  }

  agent::v1::Inventory Current() const;
  agent::v1::Hardware CurrentHardware() const;
  // Whether the last Refresh() succeeded.
  bool healthy() const;
  // Assignable devices, and the units in front of them, only.
  std::optional<GrantDevice> FindDevice(const DeviceId& id) const override;
  std::optional<GrantUnit> FindUnit(const UnitId& id) const override;
  absl::Status CheckKnown(const UnitId& id) const override;

 private:
  struct UnitFault {
    std::optional<int> most_vintfs;
    std::string timeout;  // what the kernel said; empty: none
    absl::Time timeout_since;
    int lost_vintfs = 0;
    std::string lost_by;
    absl::Time lost_since;
    absl::Time next_check = absl::InfiniteFuture();

    // Of `all` VINTFs.
    [[nodiscard]] int Usable(int all) const;
  };

  absl::Status CheckKernel(const absl::Status& known);
  void RecheckFaults(const std::vector<PciFunction>& functions);
  bool RecheckFault(const std::string& unit, const std::vector<PciFunction>& functions,
                    UnitFault* fault);
  [[nodiscard]] int StillLost(const std::string& unit, const UnitFault& fault, int counted) const;
  // `facts` were counted: what was lost is not among them.
  void SettleLost(const std::string& unit, UnitFacts* facts);
  // The VINTFs of a unit, lost ones too, and who says so.
  [[nodiscard]] std::pair<int, v1::Unit::VintfSource> AllVintfs(const std::string& id,
                                                                const UnitFacts& facts) const;
  // The cdevs of all other functions of its unit, also of those that are kept back.
  static std::vector<std::string> OthersBehind(const PciFunction& function,
                                               const std::vector<PciFunction>& functions);
  std::vector<PciFunction> AssignableBehind(const std::string& unit,
                                            const std::vector<PciFunction>& functions) const;
  void ProbeNodes(const std::vector<PciFunction>& functions);
  void ProbeUnits(const std::vector<PciFunction>& functions);
  std::string WhyNot(const PciFunction& function) const;
  agent::v1::Inventory Build(const std::vector<PciFunction>& functions) const;
  v1::Unit BuildUnit(const std::string& id, const UnitFacts& facts) const;
  void ApplyFault(v1::Unit* unit) const;
  agent::v1::Hardware BuildHardware(const std::vector<PciFunction>& functions) const;
  v1::Device BuildDevice(const PciFunction& function) const;
  void SetHealth(const absl::Status& status);

  KernelApi* const kernel_;
  Clock* const clock_;
  const Options options_;
  // Asked for once of each kernel: a unit all of whose devices are in use cannot be asked.
  std::map<std::string, UnitFacts> units_;
  // Those of units_ that the kernel before this one described. A grant may have bound all devices
  // of one before it could be asked anew.
  std::set<std::string> stale_;
  std::map<std::string, absl::Status> unit_errors_;
  // What came of opening a cdev, by its name and its device. A node that could be opened is not
  // opened again.
  std::map<std::pair<std::string, std::string>, absl::Status> nodes_;

  EventHealth events_{clock_};
  mutable absl::Mutex mu_;
  std::map<std::string, UnitFault> faults_ ABSL_GUARDED_BY(mu_);  // by unit
  agent::v1::Inventory current_ ABSL_GUARDED_BY(mu_);
  agent::v1::Hardware hardware_ ABSL_GUARDED_BY(mu_);
  v1::Condition health_ ABSL_GUARDED_BY(mu_);
  absl::Status last_look_ ABSL_GUARDED_BY(mu_);
  std::map<UnitId, absl::Status> not_asked_ ABSL_GUARDED_BY(mu_);  // units that are there
  std::map<DeviceId, GrantDevice> devices_ ABSL_GUARDED_BY(mu_);
  std::map<UnitId, GrantUnit> grant_units_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_INVENTORY_H_
