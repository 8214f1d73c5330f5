// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/audit/compare.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace berth {
namespace {

using agent::v1::GrantAudit;
using agent::v1::StrayRecord;
using v1::Assignment;
using v1::AuditDifference;
using v1::AuditRow;

// All that is known of one uid.
struct Subject {
  const BookRow* book = nullptr;
  const GrantAudit* grant = nullptr;
  const StrayRecord* stray = nullptr;
};

template <typename List>
std::vector<std::string> Sorted(const List& list) {
  std::vector<std::string> sorted(list.begin(), list.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

std::vector<std::string> DevicesOf(const agent::v1::GrantStatus& status) {
  std::vector<std::string> devices;
  for (const v1::UnitPlacement& unit : status.units()) {
    for (const v1::DevicePlacement& device : unit.devices()) devices.push_back(device.device());
  }
  std::sort(devices.begin(), devices.end());
  return devices;
}

// A VMM has it, or may have.
bool IsWithVmm(Assignment::Observed observed) {
  return observed == Assignment::ATTACHED || observed == Assignment::ORPHANED ||
         observed == Assignment::DEGRADED;
}

void PutJournal(const agent::v1::JournalAudit& from, v1::AuditJournal* journal) {
  journal->set_generation(from.generation());
  journal->set_call_begun(from.call_begun());
}

void PutGrant(const GrantAudit& grant, AuditRow* row) {
  v1::AuditAgent* agent = row->mutable_agent();
  agent->set_intent(grant.intent());
  agent->set_observed(grant.status().observed());
  agent->set_generation(grant.status().generation());
  for (std::string& device : DevicesOf(grant.status())) agent->add_devices(std::move(device));
  if (grant.has_journal()) PutJournal(grant.journal(), row->mutable_journal());
  *row->mutable_fd_store()->mutable_kept_fds() = grant.kept_fds();
  if (grant.kept_fds().empty()) row->clear_fd_store();
  if (grant.bound_devices().empty() && grant.kernel_objects() == 0) return;
  for (std::string& device : Sorted(grant.bound_devices())) {
    row->mutable_kernel()->add_bound_devices(std::move(device));
  }
  row->mutable_kernel()->set_objects(grant.kernel_objects());
}

AuditRow MakeRow(const std::string& uid, const Subject& subject) {
  AuditRow row;
  row.set_assignment_uid(uid);
  if (subject.stray != nullptr) {
    row.set_assignment(subject.stray->assignment());
    if (subject.stray->has_journal()) PutJournal(subject.stray->journal(), row.mutable_journal());
    if (!subject.stray->kept_fds().empty()) {
      *row.mutable_fd_store()->mutable_kept_fds() = subject.stray->kept_fds();
    }
  }
  if (subject.grant != nullptr) {
    row.set_assignment(subject.grant->assignment());
    PutGrant(*subject.grant, &row);
  }
  if (subject.book != nullptr) {
    if (!subject.book->assignment.empty()) row.set_assignment(subject.book->assignment);
    *row.mutable_book() = subject.book->book;
  }
  return row;
}

std::string Name(Assignment::Observed observed) {
  return observed == Assignment::OBSERVED_UNSPECIFIED ? "nothing yet"
                                                      : Assignment::Observed_Name(observed);
}

std::string Why(const agent::v1::GrantStatus& status) {
  for (const v1::Condition& condition : status.conditions()) {
    if (!condition.message().empty()) return absl::StrCat(": ", condition.message());
  }
  return "";
}

// Finds what differs on one host.
class Comparison {
 public:
  Comparison(const std::string& host, const agent::v1::AuditReport& report)
      : host_(host), report_(report) {}

  void Look(const std::string& uid, const Subject& subject) {
    uid_ = uid;
    assignment_ = MakeRow(uid, subject).assignment();
    if (subject.stray != nullptr) LookAtStray(*subject.stray);
    if (subject.book == nullptr || subject.book->assignment.empty()) {
      LookUnclaimed(subject);
    } else if (subject.grant == nullptr) {
      LookMissing(*subject.book);
    } else {
      LookAtBoth(*subject.book, *subject.grant);
    }
    if (subject.grant == nullptr) return;
    LookAtState(*subject.grant, subject.book != nullptr && subject.book->assignment.empty());
    LookAtJournal(*subject.grant);
    // Of what no assignment claims nobody knows whether it is HAND_OFF.
    const bool claimed = subject.book != nullptr && !subject.book->assignment.empty();
    if (claimed && !subject.book->hand_off) LookAtContext(*subject.grant);
  }

  void LookAtDevice(const agent::v1::HeldDevice& held) {
    uid_.clear();
    assignment_.clear();
    AuditDifference& found =
        Add(AuditDifference::DEVICE_HELD,
            absl::StrCat("somebody has ", held.device(),
                         ", which no assignment has here: ", held.message(),
                         "; whatever is placed on it waits. Find the process that has its VFIO "
                         "cdev open, and end it"));
    found.set_device(held.device());
  }

  std::vector<AuditDifference> Take() { return std::move(found_); }

 private:
  AuditDifference& Add(AuditDifference::Kind kind, const std::string& message) {
    AuditDifference& difference = found_.emplace_back();
    difference.set_kind(kind);
    difference.set_assignment(assignment_);
    difference.set_assignment_uid(uid_);
    difference.set_host(host_);
    difference.set_message(message.substr(0, kMaxMessage));
    return difference;
  }
  void AddHealable(AuditDifference::Kind kind, const std::string& message) {
    Add(kind, message).set_healing(AuditDifference::PLANNED);
  }

  void LookAtStray(const StrayRecord& stray) {
    if (stray.has_journal()) {
      Add(AuditDifference::ONLY_IN_JOURNAL,
          "the agent's journal has it, and the agent does not hold it: nothing is charged for it. "
          "The next start of the agent drops it or takes it up");
    }
    if (!stray.kept_fds().empty()) {
      Add(AuditDifference::ONLY_IN_FD_STORE,
          absl::StrCat("the service manager keeps ", absl::StrJoin(stray.kept_fds(), ", "),
                       " of it, and the agent does not hold it: its devices stay bound. The next "
                       "start of the agent drops them or takes them up"));
    }
  }

  // No assignment claims it here.
  void LookUnclaimed(const Subject& subject) {
    if (subject.grant == nullptr) {
      // The report may be incomplete: then nothing follows from what it does not name.
      if (subject.book == nullptr || report_.left_out() > 0) return;
      return AddHealable(AuditDifference::CHARGED_FOR_NOTHING,
                         "no assignment claims it, its agent has let go of it, and the book still "
                         "charges for it");
    }
    const Assignment::Observed observed = subject.grant->status().observed();
    // LookAtState() names what a VMM has.
    const bool with_vmm = IsWithVmm(observed);
    if (with_vmm && subject.book != nullptr) return;
    AddHealable(
        AuditDifference::NOT_IN_BOOK,
        with_vmm
            ? absl::StrCat("its agent has it ", Name(observed),
                           ", no assignment claims it here, and the book does not charge for it")
            : absl::StrCat("its agent has it ", Name(observed),
                           ", and no assignment claims it here: it is to be dropped"));
  }

  void LookMissing(const BookRow& row) {
    if (row.failed || report_.left_out() > 0) return;
    AddHealable(AuditDifference::NOT_ON_HOST,
                absl::StrCat("the book has it ", Assignment::Intent_Name(row.book.intent()),
                             " here, and its agent does not know of it"));
  }

  void LookAtBoth(const BookRow& row, const GrantAudit& grant) {
    const agent::v1::GrantStatus& status = grant.status();
    if (status.generation() < row.book.generation()) {
      return AddHealable(AuditDifference::GENERATION,
                         absl::StrCat("the book has placement ", row.book.generation(),
                                      " of it, its agent placement ", status.generation()));
    }
    if (status.generation() > row.book.generation()) {
      Add(AuditDifference::GENERATION,
          absl::StrCat("its agent has placement ", status.generation(),
                       " of it, the book only placement ", row.book.generation(),
                       ": the book is older than what the agent has obeyed. Delete the assignment "
                       "and create it again"));
      return;
    }
    // A VMM has it whose context is lost: the agent does not know what it was built for.
    if (grant.intent() == Assignment::INTENT_UNSPECIFIED &&
        status.observed() == Assignment::DEGRADED) {
      return;
    }
    if (grant.intent() != row.book.intent() && !row.failed) {
      AddHealable(
          AuditDifference::INTENT,
          absl::StrCat("it is to be ", Assignment::Intent_Name(row.book.intent()),
                       ", and its agent has heard ", Assignment::Intent_Name(grant.intent())));
    }
    if (status.observed() != row.book.observed()) {
      AddHealable(AuditDifference::STATE,
                  absl::StrCat("it is ", Name(status.observed()), ", and the controller has heard ",
                               Name(row.book.observed())));
    }
    LookAtDevices(row, status);
  }

  void LookAtDevices(const BookRow& row, const agent::v1::GrantStatus& status) {
    const std::vector<std::string> devices = DevicesOf(status);
    // A GONE grant holds nothing, and says so or not.
    if (devices.empty() || status.observed() == Assignment::GONE) return;
    if (devices == Sorted(row.book.devices())) return;
    Add(AuditDifference::DEVICES,
        absl::StrCat("the book charges for ", absl::StrJoin(row.book.devices(), ", "),
                     ", its agent holds ", absl::StrJoin(devices, ", "),
                     ". Delete the assignment and create it again"));
  }

  void LookAtState(const GrantAudit& grant, bool unclaimed) {
    const char* const claim =
        unclaimed ? "no assignment claims it here, and it is charged until its VMM leaves" : "";
    switch (grant.status().observed()) {
      case Assignment::ATTACHED:
        if (unclaimed) Add(AuditDifference::ORPHANED, absl::StrCat("a VMM has it; ", claim));
        return;
      case Assignment::ORPHANED:
        Add(AuditDifference::ORPHANED,
            absl::StrCat("something out of its agent's reach holds a part of it, and it is charged "
                         "until that ends",
                         Why(grant.status())));
        return;
      case Assignment::DEGRADED:
        Add(AuditDifference::DEGRADED,
            absl::StrCat("its VM runs, and its agent cannot manage its objects until its VMM has "
                         "been started anew",
                         Why(grant.status())));
        return;
      default:
        return;
    }
  }

  void LookAtJournal(const GrantAudit& grant) {
    const agent::v1::GrantStatus& status = grant.status();
    if (status.observed() != Assignment::ATTACHED || !report_.journal_readable()) return;
    if (grant.has_journal() && grant.journal().generation() == status.generation()) return;
    Add(AuditDifference::NOT_IN_JOURNAL,
        "a VMM is attached, and the agent's journal does not have this placement of it: after a "
        "restart of the agent it is DEGRADED, or ORPHANED, until its VMM has been started anew");
  }

  // Fds and kernel objects of a context that is the agent's.
  void LookAtContext(const GrantAudit& grant) {
    const agent::v1::GrantStatus& status = grant.status();
    const bool attached = status.observed() == Assignment::ATTACHED;
    if (attached && report_.fd_store_present() && grant.kept_fds().empty()) {
      Add(AuditDifference::NOT_IN_FD_STORE,
          "a VMM is attached, and the service manager keeps none of its fds: after a restart of "
          "the agent it is ORPHANED until its VMM ends");
    }
    if (!attached && status.observed() != Assignment::PREPARED) return;
    std::vector<std::string> missing;
    const std::vector<std::string> bound = Sorted(grant.bound_devices());
    const std::vector<std::string> devices = DevicesOf(status);
    std::set_difference(devices.begin(), devices.end(), bound.begin(), bound.end(),
                        std::back_inserter(missing));
    if (missing.empty()) return;
    Add(AuditDifference::NOT_BOUND,
        absl::StrCat("it is ", Name(status.observed()), ", and not bound to its context: ",
                     absl::StrJoin(missing, ", "), ". Delete the assignment and create it again"));
  }

  static constexpr size_t kMaxMessage = 1024;
  const std::string& host_;
  const agent::v1::AuditReport& report_;
  std::string uid_;
  std::string assignment_;
  std::vector<AuditDifference> found_;
};

std::map<std::string, Subject> SubjectsOf(const std::vector<BookRow>& book,
                                          const agent::v1::AuditReport& report) {
  std::map<std::string, Subject> subjects;
  for (const BookRow& row : book) subjects[row.uid].book = &row;
  for (const GrantAudit& grant : report.grants()) {
    subjects[grant.status().assignment_uid()].grant = &grant;
  }
  for (const StrayRecord& stray : report.strays()) {
    subjects[stray.assignment_uid()].stray = &stray;
  }
  return subjects;
}

// Those without a name last.
auto OrderOf(const std::string& assignment, const std::string& uid) {
  return std::make_tuple(assignment.empty(), assignment, uid);
}

void PutRows(const std::map<std::string, Subject>& subjects, v1::HostAudit* audit) {
  std::vector<AuditRow> rows;
  rows.reserve(subjects.size());
  for (const auto& [uid, subject] : subjects) rows.push_back(MakeRow(uid, subject));
  std::sort(rows.begin(), rows.end(), [](const AuditRow& a, const AuditRow& b) {
    return OrderOf(a.assignment(), a.assignment_uid()) <
           OrderOf(b.assignment(), b.assignment_uid());
  });
  for (AuditRow& row : rows) {
    if (audit->rows_size() == kMaxAuditRows) break;
    *audit->add_rows() = std::move(row);
  }
  audit->set_left_out(audit->left_out() + static_cast<int>(rows.size()) - audit->rows_size());
}

}  // namespace

v1::HostAudit RowsOf(const std::string& host, const std::vector<BookRow>& book) {
  v1::HostAudit audit;
  audit.set_host(host);
  PutRows(SubjectsOf(book, {}), &audit);
  return audit;
}

v1::HostAudit Compare(const std::string& host, const std::vector<BookRow>& book,
                      const agent::v1::AuditReport& report) {
  v1::HostAudit audit;
  audit.set_host(host);
  audit.set_outcome(v1::HostAudit::ANSWERED);
  audit.set_journal_readable(report.journal_readable());
  audit.set_fd_store_present(report.fd_store_present());
  audit.set_left_out(report.left_out());
  const std::map<std::string, Subject> subjects = SubjectsOf(book, report);
  PutRows(subjects, &audit);
  Comparison comparison(host, report);
  for (const auto& [uid, subject] : subjects) comparison.Look(uid, subject);
  for (const agent::v1::HeldDevice& held : report.held_devices()) comparison.LookAtDevice(held);
  std::vector<AuditDifference> differences = comparison.Take();
  std::stable_sort(differences.begin(), differences.end(),
                   [](const AuditDifference& a, const AuditDifference& b) {
                     return OrderOf(a.assignment(), a.assignment_uid()) <
                            OrderOf(b.assignment(), b.assignment_uid());
                   });
  for (AuditDifference& difference : differences) {
    if (audit.differences_size() == kMaxDifferences) break;
    *audit.add_differences() = std::move(difference);
  }
  audit.set_left_out(audit.left_out() + static_cast<int>(differences.size()) -
                     audit.differences_size());
  return audit;
}

std::string IdentityOf(const AuditDifference& difference) {
  return absl::StrCat(static_cast<int>(difference.kind()), "/", difference.assignment_uid(), "/",
                      difference.device());
}

}  // namespace berth
