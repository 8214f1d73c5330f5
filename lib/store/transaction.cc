// SPDX-License-Identifier: Apache-2.0
#include "lib/store/transaction.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"

namespace berth {
namespace {

ErrorMetadata KeyMetadata(const RecordKey& key) { return {{"kind", key.kind}, {"id", key.id}}; }

std::string Describe(const RecordKey& key) { return absl::StrCat(key.kind, " \"", key.id, "\""); }

absl::Status ValidateKey(const RecordKey& key) {
  if (key.kind.empty() || key.id.empty()) {
    return Error(Reason::kMissingField, "a record needs a kind and an id", KeyMetadata(key));
  }
  if (key.kind.size() > kMaxKindBytes || key.id.size() > kMaxIdBytes) {
    return Error(Reason::kTooLarge, absl::StrCat("kind or id of a record is too long (limits: ",
                                                 kMaxKindBytes, " and ", kMaxIdBytes, " bytes)"));
  }
  const bool kind_ok = std::all_of(key.kind.begin(), key.kind.end(), [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-';
  });
  const bool id_ok = std::all_of(key.id.begin(), key.id.end(), [](unsigned char c) {
    return absl::ascii_isgraph(c) || c == ' ';
  });
  if (!kind_ok || !id_ok) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("not a record key: \"", absl::CEscape(key.kind), "\", \"",
                              absl::CEscape(key.id), "\""));
  }
  return absl::OkStatus();
}

absl::Status ValidateSizes(const Transaction& transaction) {
  if (transaction.puts.size() + transaction.deletes.size() > kMaxTransactionChanges ||
      transaction.preconditions.size() > kMaxTransactionPreconditions) {
    return Error(Reason::kTooLarge,
                 absl::StrCat("a transaction has at most ", kMaxTransactionChanges, " changes and ",
                              kMaxTransactionPreconditions, " preconditions"));
  }
  size_t total = 0;
  for (const Put& put : transaction.puts) {
    total += put.payload.size();
    if (put.payload.size() > kMaxPayloadBytes) {
      return Error(Reason::kTooLarge,
                   absl::StrCat(Describe(put.key), " has ", put.payload.size(), " bytes of ",
                                kMaxPayloadBytes),
                   KeyMetadata(put.key));
    }
  }
  if (total > kMaxTransactionBytes) {
    return Error(Reason::kTooLarge, absl::StrCat("a transaction of ", total, " bytes; at most ",
                                                 kMaxTransactionBytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateTransaction(const Transaction& transaction) {
  BERTH_RETURN_IF_ERROR(ValidateSizes(transaction));
  std::vector<const RecordKey*> changed;
  changed.reserve(transaction.puts.size() + transaction.deletes.size());
  for (const Put& put : transaction.puts) changed.push_back(&put.key);
  for (const RecordKey& key : transaction.deletes) changed.push_back(&key);
  for (const RecordKey* key : changed) BERTH_RETURN_IF_ERROR(ValidateKey(*key));
  for (const Precondition& condition : transaction.preconditions) {
    BERTH_RETURN_IF_ERROR(ValidateKey(condition.key));
    if (condition.revision < 0) {
      return Error(Reason::kInvalidField, "the revision of a precondition is negative",
                   KeyMetadata(condition.key));
    }
  }
  std::sort(changed.begin(), changed.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(changed.begin(), changed.end(), [](auto* a, auto* b) { return *a == *b; });
  if (twice != changed.end()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat(Describe(**twice), " is changed twice in one transaction"),
                 KeyMetadata(**twice));
  }
  return absl::OkStatus();
}

absl::Status CheckPreconditions(
    const Transaction& transaction, int64_t term,
    const std::function<absl::StatusOr<Revision>(const RecordKey&)>& revision_of) {
  if (transaction.fence_term.has_value() && *transaction.fence_term != term) {
    return Error(Reason::kFenced,
                 absl::StrCat("the writer is of term ", *transaction.fence_term,
                              "; the store is at term ", term),
                 {{"term", absl::StrCat(term)}});
  }
  for (const Precondition& condition : transaction.preconditions) {
    BERTH_ASSIGN_OR_RETURN(const Revision found, revision_of(condition.key));
    if (found == condition.revision) continue;
    const bool must_be_absent = condition.revision == Precondition::kAbsent;
    ErrorMetadata metadata = KeyMetadata(condition.key);
    metadata["revision"] = absl::StrCat(found);
    return Error(must_be_absent ? Reason::kAlreadyExists : Reason::kEtagMismatch,
                 must_be_absent ? absl::StrCat(Describe(condition.key), " exists")
                                : absl::StrCat(Describe(condition.key), " is at revision ", found,
                                               ", not ", condition.revision),
                 metadata);
  }
  return absl::OkStatus();
}

absl::Status CheckReadPosition(Revision after, Revision compacted, Revision current) {
  if (after < 0 || after > current) {
    return Error(
        Reason::kRevisionUnknown,
        absl::StrCat("revision ", after, " is not one of this store, which is at ", current),
        {{"revision", absl::StrCat(current)}});
  }
  if (after < compacted) {
    return Error(Reason::kRevisionCompacted,
                 absl::StrCat("changes after revision ", after,
                              " are not kept; the oldest kept is ", compacted + 1),
                 {{"oldest_revision", absl::StrCat(compacted + 1)}});
  }
  return absl::OkStatus();
}

absl::Status RecordNotFound(const RecordKey& key) {
  return Error(Reason::kNotFound, absl::StrCat("no record ", Describe(key)), KeyMetadata(key));
}

int64_t RecordChecksum(const Record& record) {
  // The lengths keep ("ab", "c") and ("a", "bc") apart.
  const std::string header =
      absl::StrCat(record.key.kind.size(), ":", record.key.kind, record.key.id.size(), ":",
                   record.key.id, record.revision, ":");
  return static_cast<int64_t>(Fnv1a64(record.payload, Fnv1a64(header)));
}

absl::Status RecordDamaged(const RecordKey& key) {
  return Error(Reason::kStoreCorrupt, absl::StrCat("the checksum of ", Describe(key), " is wrong"),
               KeyMetadata(key));
}

}  // namespace berth
