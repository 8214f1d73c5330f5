// SPDX-License-Identifier: Apache-2.0
#include "lib/store/backup/backup_file.h"

#include <fcntl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "berth/internal/v1/store_backup.pb.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/config/timestamp.h"
#include "lib/rpc/sha256.h"

namespace berth {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::StringOutputStream;
using google::protobuf::util::ParseDelimitedFromZeroCopyStream;
using google::protobuf::util::SerializeDelimitedToZeroCopyStream;
using internal::v1::BackupHeader;
using internal::v1::BackupRecord;

constexpr std::string_view kFirstLine = "berth store backup\n";
constexpr int32_t kFormat = 1;
constexpr size_t kMaxBackupBytes = std::numeric_limits<int>::max();  // of a protobuf stream

std::string Encode(const Backup& backup) {
  const StoreSnapshot& snapshot = backup.snapshot;
  std::string text(kFirstLine);
  BackupHeader header;
  header.set_format(kFormat);
  header.set_made_by(backup.made_by);
  *header.mutable_create_time() = ToTimestamp(backup.created);
  header.set_uid(snapshot.epoch.uid);
  header.set_restore_count(snapshot.epoch.restore_count);
  header.set_term(snapshot.epoch.term);
  header.set_revision(snapshot.revision);
  header.set_record_count(static_cast<int64_t>(snapshot.records.size()));
  {
    StringOutputStream out(&text);
    SerializeDelimitedToZeroCopyStream(header, &out);
    for (const Record& record : snapshot.records) {
      BackupRecord message;
      message.set_kind(record.key.kind);
      message.set_id(record.key.id);
      message.set_revision(record.revision);
      message.set_payload(record.payload);
      SerializeDelimitedToZeroCopyStream(message, &out);
    }
  }
  return text + Sha256(text);
}

absl::Status NotABackup(std::string_view why) {
  return Error(Reason::kStoreCorrupt,
               absl::StrCat("not a whole backup of Berth: ", std::string(why)));
}

absl::Status CheckHeader(const BackupHeader& header) {
  if (header.format() > kFormat) {
    return Error(
        Reason::kVersionSkew,
        absl::StrCat("a backup of format ", header.format(), "; this version of Berth knows up to ",
                     kFormat),
        {{"schema", absl::StrCat(header.format())}, {"newest_known", absl::StrCat(kFormat)}});
  }
  const bool sound = header.format() == kFormat && !header.uid().empty() &&
                     header.restore_count() >= 0 && header.term() >= 0 && header.revision() >= 0 &&
                     header.record_count() >= 0;
  return sound ? absl::OkStatus() : NotABackup("its header makes no sense");
}

absl::StatusOr<Backup> Decode(const std::string& text) {
  if (text.size() > kMaxBackupBytes) return NotABackup("it is larger than 2 GiB");
  if (text.size() < kFirstLine.size() + kSha256Size ||
      text.compare(0, kFirstLine.size(), kFirstLine) != 0) {
    return NotABackup("it does not begin or end as one");
  }
  const std::string_view body = std::string_view(text).substr(0, text.size() - kSha256Size);
  const std::string_view messages = body.substr(kFirstLine.size());
  ArrayInputStream in(messages.data(), static_cast<int>(messages.size()));
  // The format is looked at before the digest: a newer one may end in another way.
  BackupHeader header;
  if (!ParseDelimitedFromZeroCopyStream(&header, &in, nullptr)) {
    return NotABackup("its header cannot be read");
  }
  BERTH_RETURN_IF_ERROR(CheckHeader(header));
  if (Sha256(body) != std::string_view(text).substr(body.size())) {
    return NotABackup("it was cut off or changed (its SHA-256 is another)");
  }
  Backup backup{.snapshot = {.epoch = {header.uid(), header.restore_count(), header.term()},
                             .revision = header.revision(),
                             .records = {}},
                .created = FromTimestamp(header.create_time()),
                .made_by = header.made_by()};
  for (int64_t i = 0; i < header.record_count(); ++i) {
    BackupRecord record;
    if (!ParseDelimitedFromZeroCopyStream(&record, &in, nullptr)) {
      return NotABackup(absl::StrCat("record ", i, " cannot be read"));
    }
    backup.snapshot.records.push_back(
        {{record.kind(), record.id()}, record.revision(), std::move(*record.mutable_payload())});
  }
  return backup;
}

absl::Status WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoToStatus(errno, "write");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : ErrnoToStatus(errno, "fsync");
}

}  // namespace

absl::Status WriteBackup(const std::string& path, const Backup& backup) {
  const std::string text = Encode(backup);
  if (text.size() > kMaxBackupBytes) {
    return Error(Reason::kTooLarge, absl::StrCat(path, ": the store has more than 2 GiB"));
  }
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoToStatus(errno, path);
  const absl::Status written = WriteAll(file.get(), text);
  if (!written.ok()) ::unlink(path.c_str());
  return Annotate(written, path);
}

absl::StatusOr<Backup> ReadBackup(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoToStatus(errno, path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (file.bad()) return ErrnoToStatus(EIO, path);
  absl::StatusOr<Backup> backup = Decode(text);
  if (!backup.ok()) return Annotate(backup.status(), path);
  return backup;
}

}  // namespace berth
