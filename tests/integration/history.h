// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_HISTORY_H_
#define BERTH_TESTS_INTEGRATION_HISTORY_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/v1/assignment_service.pb.h"

namespace berth::testing {

// What users were told, what hosts showed and what the book had at last, and what of it breaks a
// promise of Berth's: no device is granted twice, no unit has more VINTFs in use than it has, what
// was acknowledged stays, a request has one answer, an older epoch is not obeyed. Only records; may
// be called from any thread.
class History {
 public:
  enum class Hold {
    kUntilDeleted,  // whoever was given a device has it until he asks for the end
    kWhilePlaced,   // an assignment may fail meanwhile, and then its devices are free for others
  };
  explicit History(Hold hold) : hold_(hold) {}

  // Somebody has had this answer to a Create, the first or a repeated one.
  void Created(const v1::CreateAssignmentRequest& request, const v1::Assignment& answer);
  // Before a Delete is sent, and when it has been answered.
  void DeleteAsked(const std::string& id);
  void Deleted(const std::string& id);

  // A unit of a host that has no more than so many VINTFs. Of others, none are counted.
  void HasVintfs(const std::string& host, const std::string& unit, int vintfs);
  // What the agent of a host shows at one moment. One caller at a time for each host.
  void Saw(const std::string& host, const std::vector<agent::v1::LocalGrant>& grants,
           const agent::v1::Epoch& epoch);

  // What the book has of them when everything has come to rest, by assignment id; nothing: it has
  // none. Of those that are not asked about, nothing is known.
  void Found(const std::map<std::string, std::optional<v1::Assignment>>& book);

  struct Told {
    v1::CreateAssignmentRequest request;
    v1::Assignment answer;
  };
  // By assignment id: created, and no Delete was answered.
  std::map<std::string, Told> Kept() const;
  // Those whose Delete was answered.
  std::vector<std::string> Gone() const;
  // Created in all.
  size_t created() const;
  // Calls of Saw() in all.
  size_t looks() const;

  // A sentence each, none twice. Empty: every promise was kept.
  std::vector<std::string> Violations() const;

 private:
  using Device = std::pair<std::string, std::string>;  // host and device
  struct Entry {
    Told told;
    bool delete_asked = false;
    bool deleted = false;
  };
  static std::vector<Device> DevicesOf(const v1::Assignment& assignment);
  void CheckFound(const std::string& id, const std::optional<v1::Assignment>& now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckDevicesOf(const std::string& id, const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckEpoch(const std::string& host, const agent::v1::Epoch& epoch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Hold hold_;
  mutable absl::Mutex mu_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  // Who was ever given it.
  std::map<Device, std::set<std::string>> given_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<std::string, std::string>, int> vintfs_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, agent::v1::Epoch> epochs_ ABSL_GUARDED_BY(mu_);
  size_t looks_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<std::string> violations_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_HISTORY_H_
