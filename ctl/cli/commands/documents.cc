// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/commands/documents.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/cli/resource.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth::cli {
namespace {

constexpr char kStdin[] = "standard input";

absl::StatusOr<Messages> ReadStream(std::istream& in, const google::protobuf::Message& type) {
  // One byte more than is accepted, so that it is the parser that refuses.
  std::string text(kMaxYamlBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return ParseYamlDocuments(text, kStdin, type);
}

absl::StatusOr<Messages> ReadFile(const std::string& file, const google::protobuf::Message& type) {
  auto documents = LoadYamlDocuments(file, type);
  if (const int error = ErrnoOf(documents.status()); error != 0) {
    // Not the status of the errno: "no such file" is not "no such assignment" (exit codes).
    return Error(Reason::kInvalidField, absl::StrCat("cannot read ", file, ": ", strerror(error)),
                 {{"path", file}});
  }
  return documents;
}

// The documents of one file, at least one.
absl::StatusOr<Messages> ReadDocuments(const std::string& file,
                                       const google::protobuf::Message& type, Session& session) {
  BERTH_ASSIGN_OR_RETURN(Messages documents,
                         file == "-" ? ReadStream(session.in(), type) : ReadFile(file, type));
  if (documents.empty()) {
    return UsageError(absl::StrCat(file == "-" ? kStdin : file, " has no document"));
  }
  return documents;
}

}  // namespace

absl::StatusOr<std::vector<v1::Assignment>> ReadAssignments(absl::Span<const std::string> files,
                                                            Session& session) {
  std::vector<v1::Assignment> assignments;
  for (const std::string& file : files) {
    BERTH_ASSIGN_OR_RETURN(const Messages documents,
                           ReadDocuments(file, v1::Assignment(), session));
    for (const auto& document : documents) {
      v1::Assignment& assignment =
          assignments.emplace_back(static_cast<const v1::Assignment&>(*document));
      if (assignment.name().empty()) continue;
      BERTH_ASSIGN_OR_RETURN(*assignment.mutable_name(),
                             FullName(AssignmentType(), assignment.name()));
    }
  }
  return assignments;
}

absl::StatusOr<v1::BatchCreateAssignmentsRequest> ReadGang(absl::Span<const std::string> files,
                                                           Session& session) {
  if (files.size() != 1) return UsageError("--gang takes one file");
  BERTH_ASSIGN_OR_RETURN(const Messages documents,
                         ReadDocuments(files[0], v1::BatchCreateAssignmentsRequest(), session));
  if (documents.size() != 1) return UsageError("--gang takes one document");
  auto gang = static_cast<const v1::BatchCreateAssignmentsRequest&>(*documents[0]);
  for (v1::CreateAssignmentRequest& member : *gang.mutable_requests()) {
    if (!member.assignment_id().empty() || member.assignment().name().empty()) continue;
    BERTH_ASSIGN_OR_RETURN(const std::string name,
                           FullName(AssignmentType(), member.assignment().name()));
    member.set_assignment_id(Id(name));
  }
  return gang;
}

}  // namespace berth::cli
