// SPDX-License-Identifier: Apache-2.0
//
// What commands do with every kind of resource in the same way: the nouns of the command line. A
// new kind is one more implementation and one more entry of ResourceTypes().
#ifndef BERTH_CTL_CLI_RESOURCE_H_
#define BERTH_CTL_CLI_RESOURCE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "ctl/cli/client.h"
#include "ctl/cli/printer/table.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth::cli {

using MessagePtr = std::shared_ptr<const google::protobuf::Message>;

// What a list or a watch shows. A resource matches when all that is given holds.
struct Filter {
  std::map<std::string, std::string> labels;
  std::string host;  // "hosts/..."; assignments only
};

enum class Detail { kRow, kEverything };  // whether long fields are fetched

struct Change {
  enum class Type { kPut, kDelete };
  Type type = Type::kPut;
  MessagePtr event;     // as the API sends it
  MessagePtr resource;  // the part of it that is the resource
};

struct WatchBatch {
  std::vector<Change> changes;
  std::string token;  // where to go on after it
};

struct WatchQuery {
  std::string name;   // empty: all
  std::string token;  // empty: the present state first
  Detail detail = Detail::kRow;
};

// What `wait --for` waits for.
struct Goal {
  std::string text;  // "prepared", for messages
  // The resource is to go away; `reached` is not used.
  bool deleted = false;
  // Whether it is so. An error when it cannot become so any more: it ends the wait.
  std::function<absl::StatusOr<bool>(const google::protobuf::Message&)> reached;
};

struct DeleteOptions {
  std::string name;
  std::string request_id;
  bool ignore_missing = false;
  bool dry_run = false;  // assignments only
  bool gone = false;     // hosts only: with what is on them
};

enum class Deletion {
  kMissing,  // there was no such resource
  kStarted,  // it goes when nobody uses it any more
  kDone,
};

// Stateless; thread-safe. Messages that are passed in are of the type's own kind.
class ResourceType {
 public:
  virtual ~ResourceType() = default;

  virtual std::string_view singular() const = 0;    // "assignment"
  virtual std::string_view collection() const = 0;  // "assignments", of names and of the noun
  virtual std::vector<std::string_view> aliases() const = 0;

  virtual absl::StatusOr<MessagePtr> Get(Client& client, const std::string& name) const = 0;
  // All of them, over all pages.
  virtual absl::StatusOr<std::vector<MessagePtr>> List(Client& client, const Filter& filter,
                                                       Detail detail) const = 0;
  // A watch token for the present: what is read from now on is not older.
  virtual absl::StatusOr<std::string> Position(Client& client) const = 0;
  // One stream; as Client::WatchAssignments().
  virtual absl::Status Watch(Client& client, const WatchQuery& query,
                             const std::function<Next(const WatchBatch&)>& on_batch) const = 0;
  virtual absl::StatusOr<Deletion> Delete(Client& client, const DeleteOptions& options) const = 0;

  virtual bool Matches(const google::protobuf::Message& resource, const Filter& filter) const = 0;
  virtual const std::string& NameOf(const google::protobuf::Message& resource) const = 0;
  virtual const std::string& UidOf(const google::protobuf::Message& resource) const = 0;

  virtual TableRow Header(Width width) const = 0;
  virtual TableRow Row(const google::protobuf::Message& resource, Width width,
                       absl::Time now) const = 0;
  virtual std::string Describe(const google::protobuf::Message& resource, absl::Time now) const = 0;
  // "INTENT, OBSERVED": where it stands, for messages.
  virtual std::string StateOf(const google::protobuf::Message& resource) const = 0;
  // kInvalidArgument for what this kind never is.
  virtual absl::StatusOr<Goal> ParseGoal(std::string_view text) const = 0;
};

const ResourceType& AssignmentType();
const ResourceType& HostType();
absl::Span<const ResourceType* const> ResourceTypes();

// One resource, or all of a kind.
struct Target {
  const ResourceType* type = nullptr;
  std::string name;  // "assignments/x"; empty: all

  // "assignment/x", as commands say it.
  std::string Label() const;
};

// "TYPE", "TYPE,TYPE", "TYPE NAME...", "TYPE/NAME ...", also "TYPE assignments/x": kubectl's
// grammar. Errors are UsageError()s.
absl::StatusOr<std::vector<Target>> ParseTargets(absl::Span<const std::string> words);
// The same, where every target must have a name.
absl::StatusOr<std::vector<Target>> ParseNamedTargets(absl::Span<const std::string> words);
// "x" or "assignments/x" or "assignment/x" to "assignments/x".
absl::StatusOr<std::string> FullName(const ResourceType& type, std::string_view name);
// "assignment/x" of a resource's full name.
std::string LabelOf(const ResourceType& type, std::string_view full_name);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_RESOURCE_H_
