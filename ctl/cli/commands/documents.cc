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

absl::StatusOr<Messages> ReadStream(std::istream& in) {
  // One byte more than is accepted, so that it is the parser that refuses.
  std::string text(kMaxYamlBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return ParseYamlDocuments(text, kStdin, v1::Assignment());
}

absl::StatusOr<Messages> ReadFile(const std::string& file) {
  auto documents = LoadYamlDocuments(file, v1::Assignment());
  if (const int error = ErrnoOf(documents.status()); error != 0) {
    // Not the status of the errno: "no such file" is not "no such assignment" (exit codes).
    return Error(Reason::kInvalidField, absl::StrCat("cannot read ", file, ": ", strerror(error)),
                 {{"path", file}});
  }
  return documents;
}

}  // namespace

absl::StatusOr<std::vector<v1::Assignment>> ReadAssignments(absl::Span<const std::string> files,
                                                            Session& session) {
  std::vector<v1::Assignment> assignments;
  for (const std::string& file : files) {
    BERTH_ASSIGN_OR_RETURN(const Messages documents,
                           file == "-" ? ReadStream(session.in()) : ReadFile(file));
    for (const auto& document : documents) {
      v1::Assignment& assignment =
          assignments.emplace_back(static_cast<const v1::Assignment&>(*document));
      if (assignment.name().empty()) continue;
      BERTH_ASSIGN_OR_RETURN(*assignment.mutable_name(),
                             FullName(AssignmentType(), assignment.name()));
    }
    if (documents.empty()) {
      return UsageError(absl::StrCat(file == "-" ? kStdin : file, " has no document"));
    }
  }
  return assignments;
}

}  // namespace berth::cli
