// SPDX-License-Identifier: Apache-2.0
//
// What every implementation of Store checks in the same way.
#ifndef BERTH_LIB_STORE_TRANSACTION_H_
#define BERTH_LIB_STORE_TRANSACTION_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/store/store.h"

namespace berth {

// The rules of store.h that need no store.
absl::Status ValidateTransaction(const Transaction& transaction);

// Fence and preconditions. `revision_of` returns the revision of a record, 0 when absent.
absl::Status CheckPreconditions(
    const Transaction& transaction, int64_t term,
    const std::function<absl::StatusOr<Revision>(const RecordKey&)>& revision_of);

// The error of ReadChanges() for an `after` outside [compacted, current], else OK.
absl::Status CheckReadPosition(Revision after, Revision compacted, Revision current);

absl::Status RecordNotFound(const RecordKey& key);

// What is stored beside a record, and compared when it is read.
int64_t RecordChecksum(const Record& record);
// kStoreCorrupt, metadata "kind" and "id": it was not equal.
absl::Status RecordDamaged(const RecordKey& key);

}  // namespace berth

#endif  // BERTH_LIB_STORE_TRANSACTION_H_
