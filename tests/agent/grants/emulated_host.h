// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_GRANTS_EMULATED_HOST_H_
#define BERTH_TESTS_AGENT_GRANTS_EMULATED_HOST_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/device_lookup.h"
#include "berth/agent/v1/grant.pb.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "lib/iommufd/kernel_api.h"

namespace berth::testing {

// A host with emulated hardware, on a socket in a folder of its own:
//  unit "smmu0": CMDQV with kVintfs free VINTFs of 2 vCMDQs and 4 SID slots; devices gpu0..gpu5,
//                of which gpu5 cannot be reset
//  unit "smmu1": plain SMMUv3; device nic0
class EmulatedHost {
 public:
  static constexpr int kVintfs = 3;

  EmulatedHost();
  ~EmulatedHost();
  EmulatedHost(const EmulatedHost&) = delete;
  EmulatedHost& operator=(const EmulatedHost&) = delete;

  KernelApi& kernel() { return *client_; }
  emulator::Kernel& hardware() { return server_->kernel(); }
  const DeviceLookup& lookup() const { return lookup_; }
  // Whether this process has CAP_SYS_RESOURCE there; it has, unless told otherwise.
  void SetPrivileged(bool privileged) { privileged_ = privileged; }
  // From now on no grant finds it.
  void Unplug(const std::string& device) { lookup_.Unplug(device); }
  // What it says of VINTFs of "smmu0": how many there are, and that so many more are lost.
  void AssumeVintfs(int vintfs) { lookup_.AssumeVintfs(vintfs); }
  void LoseVintfs(int more) { lookup_.LoseVintfs(more); }
  // Until the next word nothing is found, and this is why. OK: all is found again.
  void HideDevices(const absl::Status& why) { lookup_.Hide(why); }

  // The emulator ends, with all that it holds; the next comes up empty.
  void EndKernel() { server_.reset(); }
  void StartKernel();

  // After every close of this process has been noticed.
  emulator::Snapshot Snapshot();
  // Nothing is open, bound, allocated or pinned. Says what is.
  std::string Leftovers();

 private:
  class Lookup : public DeviceLookup {
   public:
    [[nodiscard]] std::optional<GrantDevice> FindDevice(const DeviceId& id) const override;
    [[nodiscard]] std::optional<GrantUnit> FindUnit(const UnitId& id) const override;
    [[nodiscard]] absl::Status CheckKnown(const UnitId& id) const override;
    void Unplug(const std::string& device);
    void Hide(const absl::Status& why);
    void AssumeVintfs(int vintfs);
    void LoseVintfs(int more);
    void Add(const GrantDevice& device);

   private:
    mutable absl::Mutex mu_;
    std::map<DeviceId, GrantDevice> devices_ ABSL_GUARDED_BY(mu_);
    absl::Status hidden_ ABSL_GUARDED_BY(mu_);
    int vintfs_ ABSL_GUARDED_BY(mu_) = kVintfs;
    int lost_vintfs_ ABSL_GUARDED_BY(mu_) = 0;
  };

  emulator::HostSpec spec_;
  Lookup lookup_;
  std::string folder_;
  std::atomic<bool> privileged_ = true;
  std::unique_ptr<emulator::Server> server_;
  std::unique_ptr<emulator::EmulatorClient> client_;
};

inline constexpr char kToken[] = "the token of the assignment";

// A grant of `devices` on "smmu0" with 2 vCMDQs, generation 1, PLACED, with kToken.
agent::v1::DesiredGrant Desired(const std::string& uid, const std::vector<std::string>& devices);
// Adds a unit to it.
void AddUnit(const std::string& unit, int vcmdqs, const std::vector<std::string>& devices,
             agent::v1::DesiredGrant* grant);

// How many fds this process has.
size_t OpenFds();

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_GRANTS_EMULATED_HOST_H_
