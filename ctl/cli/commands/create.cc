// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "ctl/cli/commands/documents.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/watcher.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

enum class DryRun { kNone, kClient, kServer };

struct Options {
  std::vector<std::string> files;
  bool gang = false;
  std::string name;
  std::string request_id;
  DryRun dry_run = DryRun::kNone;
  Format format = Format::kTable;
  TokenFlags token;
  std::string lease;
  std::string attach_timeout;
  bool wait = false;
  std::string wait_for;
};

class Creator {
 public:
  Creator(const Options& options, Session& session) : options_(options), session_(session) {}

  absl::Status Run() {
    if (options_.gang) return RunGang();
    BERTH_ASSIGN_OR_RETURN(std::vector<v1::Assignment> documents,
                           ReadAssignments(options_.files, session_));
    for (v1::Assignment& document : documents) {
      BERTH_RETURN_IF_ERROR(SetDeadlines(document.mutable_spec()));
    }
    BERTH_RETURN_IF_ERROR(Prepare(&documents));
    for (v1::Assignment& document : documents) session_.Report(CreateOne(std::move(document)));
    if (IsData(options_.format) && !created_.empty()) {
      session_.out() << (documents.size() == 1 ? WriteMessage(*created_[0], options_.format)
                                               : WriteMessages(created_, options_.format));
    }
    return absl::OkStatus();
  }

 private:
  // All members by one call: all are created, or none.
  absl::Status RunGang() {
    if (!options_.name.empty() || !options_.token.file.empty() ||
        options_.dry_run == DryRun::kServer) {
      return UsageError("--name, --token-file and --dry-run=server are not for a gang");
    }
    BERTH_ASSIGN_OR_RETURN(v1::BatchCreateAssignmentsRequest gang,
                           ReadGang(options_.files, session_));
    for (v1::CreateAssignmentRequest& member : *gang.mutable_requests()) {
      BERTH_RETURN_IF_ERROR(SetDeadlines(member.mutable_assignment()->mutable_spec()));
    }
    std::vector<v1::Assignment> none;
    BERTH_RETURN_IF_ERROR(Prepare(&none));
    if (options_.dry_run == DryRun::kClient) {
      for (v1::CreateAssignmentRequest& member : *gang.mutable_requests()) {
        BERTH_RETURN_IF_ERROR(Print(std::move(*member.mutable_assignment()), "(client dry run)"));
      }
      return WriteData();
    }
    gang.set_mode(v1::BatchCreateAssignmentsRequest::ATOMIC);
    gang.set_request_id(RequestIdOr(options_.request_id));
    BERTH_ASSIGN_OR_RETURN(v1::BatchCreateAssignmentsResponse created,
                           client_->BatchCreateAssignments(gang));
    for (const v1::BatchCreateResult& result : created.results()) {
      BERTH_RETURN_IF_ERROR(Print(result.assignment(), ""));
    }
    for (int i = 0; goal_.has_value() && i < created.results_size(); ++i) {
      const v1::Assignment& member = created.results(i).assignment();
      session_.Report(Wait(member.name(), member.attach_token(), static_cast<size_t>(i)));
    }
    return WriteData();
  }

  absl::Status SetDeadlines(v1::AssignmentSpec* spec) const {
    if (!options_.lease.empty()) {
      BERTH_ASSIGN_OR_RETURN(*spec->mutable_lease_duration(),
                             ParseDuration("--lease", options_.lease));
    }
    if (!options_.attach_timeout.empty()) {
      BERTH_ASSIGN_OR_RETURN(*spec->mutable_attach_timeout(),
                             ParseDuration("--attach-timeout", options_.attach_timeout));
    }
    return absl::OkStatus();
  }

  absl::Status WriteData() {
    if (IsData(options_.format) && !created_.empty()) {
      session_.out() << (created_.size() == 1 && !options_.gang
                             ? WriteMessage(*created_[0], options_.format)
                             : WriteMessages(created_, options_.format));
    }
    return absl::OkStatus();
  }

  // Everything that can be refused before anything is created.
  absl::Status Prepare(std::vector<v1::Assignment>* documents) {
    const bool for_one =
        !options_.name.empty() || !options_.request_id.empty() || !options_.token.file.empty();
    if (for_one && documents->size() > 1) {
      return UsageError("--name, --request-id and --token-file are for a single document");
    }
    if (!options_.name.empty()) {
      BERTH_ASSIGN_OR_RETURN(*documents->front().mutable_name(),
                             FullName(AssignmentType(), options_.name));
    }
    if (options_.wait || !options_.wait_for.empty()) {
      BERTH_ASSIGN_OR_RETURN(
          goal_,
          AssignmentType().ParseGoal(options_.wait_for.empty() ? "prepared" : options_.wait_for));
    }
    if (options_.dry_run == DryRun::kClient) return absl::OkStatus();
    BERTH_ASSIGN_OR_RETURN(client_, session_.client());
    if (!options_.token.file.empty() && options_.dry_run == DryRun::kNone) {
      BERTH_ASSIGN_OR_RETURN(ReplaceFile file, ReplaceFile::Open(options_.token.file));
      token_file_.emplace(std::move(file));
    }
    return absl::OkStatus();
  }

  absl::Status CreateOne(v1::Assignment document) {
    if (options_.dry_run == DryRun::kClient) return Print(std::move(document), "(client dry run)");
    v1::CreateAssignmentRequest request;
    request.set_assignment_id(Id(document.name()));
    request.set_request_id(RequestIdOr(options_.request_id));
    request.set_validate_only(options_.dry_run == DryRun::kServer);
    *request.mutable_assignment() = std::move(document);
    auto created = client_->CreateAssignment(request);
    if (!created.ok()) {
      return request.assignment_id().empty()
                 ? created.status()
                 : Annotate(created.status(), absl::StrCat("assignment/", request.assignment_id()));
    }
    if (options_.dry_run == DryRun::kServer) return Print(*std::move(created), "(server dry run)");
    const std::string name = created->name();
    const std::string token = created->attach_token();
    absl::Status saved = absl::OkStatus();
    if (token_file_.has_value()) saved = token_file_->Commit(token + "\n");
    BERTH_RETURN_IF_ERROR(Print(*std::move(created), ""));
    BERTH_RETURN_IF_ERROR(saved);
    return goal_.has_value() ? Wait(name, token, created_.size() - 1) : absl::OkStatus();
  }

  absl::Status Print(v1::Assignment assignment, std::string_view remark) {
    if (IsData(options_.format)) {
      if (!options_.token.show) assignment.clear_attach_token();
      created_.push_back(std::make_shared<v1::Assignment>(std::move(assignment)));
    } else if (options_.format == Format::kName) {
      session_.out() << assignment.name() << std::endl;
    } else {
      session_.out() << "assignment/" << CellOr(Id(assignment.name()), "<unnamed>") << " created"
                     << (remark.empty() ? "" : " ") << remark << std::endl;
      if (options_.token.show) session_.out() << "token " << assignment.attach_token() << std::endl;
    }
    return absl::OkStatus();
  }

  // `place`: of what Print() has kept of it.
  absl::Status Wait(const std::string& name, const std::string& token, size_t place) {
    const Target target = {.type = &AssignmentType(), .name = name};
    BERTH_RETURN_IF_ERROR(WaitFor(*client_, target, *goal_, session_.err()));
    if (options_.format == Format::kTable) {
      session_.out() << target.Label() << " " << goal_->text << std::endl;
    }
    if (!IsData(options_.format) || goal_->deleted) return absl::OkStatus();
    // What it is now that the wait is over; only the answer to the creation had the token.
    v1::GetAssignmentRequest request;
    request.set_name(name);
    BERTH_ASSIGN_OR_RETURN(v1::Assignment now, client_->GetAssignment(request));
    if (options_.token.show) now.set_attach_token(token);
    created_[place] = std::make_shared<v1::Assignment>(std::move(now));
    return absl::OkStatus();
  }

  const Options& options_;
  Session& session_;
  Client* client_ = nullptr;
  std::optional<Goal> goal_;
  std::optional<ReplaceFile> token_file_;
  std::vector<MessagePtr> created_;
};

absl::Status RunCreate(const Options& options, Session& session) {
  return Creator(options, session).Run();
}

}  // namespace

void AddCreate(CLI::App& app, Run* run) {
  auto [command, options] = AddCommand(app, "create", "Create assignments", run, &RunCreate);
  AddFiles(command, &options->files);
  command->add_flag("--gang", options->gang,
                    "The file has `requests`, which are created all or none, and `constraints`");
  command->add_option("--name", options->name, "Name it so, whatever the file says")
      ->type_name("NAME");
  AddRequestId(command, &options->request_id);
  command->add_option("--dry-run", options->dry_run, "Only check: the file, or also the placement")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, DryRun>{{"none", DryRun::kNone},
                                                                {"client", DryRun::kClient},
                                                                {"server", DryRun::kServer}})
              .description(""))
      ->type_name("none|client|server");
  AddOutput(command, Formats::kDataAndName, &options->format);
  AddTokenFlags(command, &options->token);
  command
      ->add_option("--lease", options->lease,
                   "Release it unless it is renewed within this time, whatever the file says")
      ->type_name("DURATION");
  command
      ->add_option("--attach-timeout", options->attach_timeout,
                   "Release it unless a VMM attaches within this time, whatever the file says")
      ->type_name("DURATION");
  command->add_flag("--wait", options->wait, "Wait until a VMM can attach");
  command->add_option("--wait-for", options->wait_for, "Wait as `wait --for` does")
      ->type_name("STATE");
}

}  // namespace berth::cli
