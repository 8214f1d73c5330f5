// SPDX-License-Identifier: Apache-2.0
//
// A store from outside, for tools: read and made as a whole, without being its writer. One
// behavioural suite (tests/store/medium_suite.h) runs on every implementation.
#ifndef BERTH_LIB_STORE_MEDIUM_H_
#define BERTH_LIB_STORE_MEDIUM_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/store/store.h"

namespace berth {

// Everything that a store holds at one revision, but for its change log.
struct StoreSnapshot {
  StoreEpoch epoch;
  Revision revision = 0;
  std::vector<Record> records;  // by kind and id
};

// Where a store is, or can be. Not thread-safe.
class StoreMedium {
 public:
  virtual ~StoreMedium() = default;

  // For people: a path, or addresses and a prefix.
  [[nodiscard]] virtual std::string Name() const = 0;

  // One consistent view, also while somebody has the store open. A record that cannot be read goes
  // to `on_broken` and the rest is still in the snapshot.
  //   kNotFound   no store is there; else the errors of opening one
  virtual absl::StatusOr<StoreSnapshot> Read(const Store::OnBroken& on_broken) = 0;

  // Keeps others from opening the store, or making one, while the result lives. kStoreLocked:
  // somebody has it open.
  virtual absl::StatusOr<std::shared_ptr<const void>> Hold() = 0;

  enum class IfExists { kRefuse, kReplace };
  // Makes a store of `snapshot`, with its epoch and revisions and an empty change log. Durable when
  // this returns; when it does not, there is the store of before, or one that nobody can open.
  //   kAlreadyExists   kRefuse, and there is one, or something else
  //   kStoreLocked     somebody has it open
  //   kTooLarge        it does not take one of the records; metadata "kind" and "id"
  virtual absl::Status Write(const StoreSnapshot& snapshot, IfExists if_exists) = 0;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_MEDIUM_H_
