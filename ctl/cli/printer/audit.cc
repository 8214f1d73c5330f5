// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/audit.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "ctl/cli/printer/table.h"
#include "ctl/cli/printer/text.h"

namespace berth::cli {
namespace {

using v1::Assignment;
using v1::AuditDifference;
using v1::AuditRow;
using v1::HostAudit;

std::string Subject(const std::string& assignment, const std::string& uid) {
  return Cell(assignment.empty() ? uid : Id(assignment));
}

// "PLACED/ATTACHED@3".
template <typename Part>
std::string Standing(const Part& part) {
  return absl::StrCat(EnumName(Assignment::Intent_Name, part.intent()), "/",
                      EnumName(Assignment::Observed_Name, part.observed()), "@", part.generation());
}

std::string BookCell(const AuditRow& row) {
  if (!row.has_book()) return kNone;
  if (!row.book().unclaimed()) return Standing(row.book());
  return absl::StrCat("unclaimed/", EnumName(Assignment::Observed_Name, row.book().observed()));
}

std::string JournalCell(const HostAudit& host, const AuditRow& row) {
  if (!host.journal_readable()) return kUnknown;
  if (!row.has_journal()) return kNone;
  return absl::StrCat("@", row.journal().generation(), row.journal().call_begun() ? "+call" : "");
}

std::string FdStoreCell(const HostAudit& host, const AuditRow& row) {
  if (host.outcome() != HostAudit::ANSWERED) return kUnknown;
  if (!row.has_fd_store()) return kNone;
  const int fds = row.fd_store().kept_fds_size();
  return absl::StrCat(fds, fds == 1 ? "-fd" : "-fds");
}

// Devices that are bound, of those that the agent has it for.
std::string KernelCell(const HostAudit& host, const AuditRow& row) {
  if (host.outcome() != HostAudit::ANSWERED) return kUnknown;
  if (!row.has_kernel()) return kNone;
  return Ratio(row.kernel().bound_devices_size(), row.agent().devices_size());
}

TableRow RowOf(const HostAudit& host, const AuditRow& row) {
  const bool answered = host.outcome() == HostAudit::ANSWERED;
  return {Cell(Id(host.host())),
          Subject(row.assignment(), row.assignment_uid()),
          BookCell(row),
          row.has_agent() ? Standing(row.agent()) : std::string(answered ? kNone : kUnknown),
          JournalCell(host, row),
          FdStoreCell(host, row),
          KernelCell(host, row)};
}

TableRow RowOf(const AuditDifference& difference, absl::Time now) {
  const std::string subject = difference.device().empty()
                                  ? Subject(difference.assignment(), difference.assignment_uid())
                                  : Cell(difference.device());
  std::string healing = kNone;
  if (difference.healing() != AuditDifference::HEALING_UNSPECIFIED) {
    healing = absl::AsciiStrToLower(AuditDifference::Healing_Name(difference.healing()));
  }
  return {Cell(Id(difference.host())),
          subject,
          EnumName(AuditDifference::Kind_Name, difference.kind()),
          difference.drift() ? AgeOf(difference.first_seen_time(), now) : "new",
          CellOr(healing, kUnknown),
          TextCell(difference.message())};
}

}  // namespace

std::string AuditTables(const v1::AuditResponse& audit, absl::Time now) {
  std::vector<TableRow> rows;
  std::vector<TableRow> differences;
  for (const HostAudit& host : audit.hosts()) {
    for (const AuditRow& row : host.rows()) rows.push_back(RowOf(host, row));
    for (const AuditDifference& difference : host.differences()) {
      differences.push_back(RowOf(difference, now));
    }
  }
  std::string text;
  if (!rows.empty()) {
    text = Table({"HOST", "ASSIGNMENT", "BOOK", "AGENT", "JOURNAL", "FD-STORE", "KERNEL"}, rows);
  }
  if (differences.empty()) return text;
  return absl::StrCat(
      text, text.empty() ? "" : "\n",
      Table({"HOST", "SUBJECT", "DIFFERENCE", "SINCE", "HEALING", "WHAT"}, differences));
}

std::string AuditSummary(const v1::AuditResponse& audit) {
  std::string text;
  int looked_at = 0;
  int differences = 0;
  for (const HostAudit& host : audit.hosts()) {
    const std::string label = absl::StrCat("host/", Cell(Id(host.host())));
    if (host.outcome() == HostAudit::NO_ANSWER) {
      absl::StrAppend(&text, label,
                      ": its agent does not answer audits: it hangs, or is of a "
                      "release before them\n");
    } else if (host.outcome() != HostAudit::ANSWERED) {
      absl::StrAppend(&text, label, ": its agent is not connected\n");
    } else {
      ++looked_at;
    }
    differences += host.differences_size();
    if (host.left_out() > 0) {
      absl::StrAppend(&text, label, ": ", host.left_out(), " more entries are not shown\n");
    }
  }
  absl::StrAppend(&text, differences, differences == 1 ? " difference" : " differences", " on ",
                  looked_at, looked_at == 1 ? " host" : " hosts", "\n");
  return text;
}

bool AllAgree(const v1::AuditResponse& audit) {
  return std::all_of(audit.hosts().begin(), audit.hosts().end(), [](const HostAudit& host) {
    return host.outcome() == HostAudit::ANSWERED && host.differences().empty() &&
           host.left_out() == 0;
  });
}

}  // namespace berth::cli
