// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "berth/internal/v1/emulator_control.grpc.pb.h"
#include "berth/internal/v1/emulator_faults.grpc.pb.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/printer/table.h"
#include "ctl/cli/printer/text.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/config/duration.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"

namespace berth::cli {
namespace {

namespace pb = berth::internal::v1;

constexpr absl::Duration kPatience = absl::Seconds(10);

struct DebugOptions {
  std::string emulator;  // its runtime folder
  Format format = Format::kTable;
  std::vector<uint64_t> ids;
  bool all = false;
  std::string subject;
  std::string request;
  std::string error;
  std::string delay;
  uint64_t skip = 0;
  uint64_t count = 1;
};

// Calls `method` of the emulator's service `Service`.
template <typename Service, typename Request, typename Response>
absl::Status Call(const DebugOptions& options, const Request& request, Response* response,
                  grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*)) {
  // gRPC wants an absolute path.
  const std::string path = std::filesystem::absolute(options.emulator).string() + "/control.sock";
  ChannelOptions channel_options;
  channel_options.address = "unix:" + path;
  BERTH_ASSIGN_OR_RETURN(const auto channel, MakeChannel(channel_options));
  const auto stub = Service::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(kPatience));
  const grpc::Status status = (stub.get()->*method)(&context, request, response);
  if (status.ok()) return absl::OkStatus();
  if (status.error_details().empty() && status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    return Error(Reason::kKernelGone, absl::StrCat("no emulator answers on ", path),
                 {{"path", path}});
  }
  return FromGrpcStatus(status);
}

absl::Status Stats(const DebugOptions& options, Session& session) {
  pb::EmulatorStats stats;
  BERTH_RETURN_IF_ERROR(Call<pb::EmulatorControl>(options, pb::GetStatsRequest(), &stats,
                                                  &pb::EmulatorControl::Stub::GetStats));
  session.out() << WriteMessage(stats, IsData(options.format) ? options.format : Format::kYaml);
  return absl::OkStatus();
}

// "HW_QUEUE_ALLOC ENOSPC", "smmu3.0", "0000:01:00.0", "any".
std::string What(const pb::Fault& fault) {
  switch (fault.kind_case()) {
    case pb::Fault::kIoctl: {
      std::string what = fault.ioctl().request();
      if (!fault.ioctl().error().empty()) absl::StrAppend(&what, " ", fault.ioctl().error());
      if (fault.ioctl().has_delay()) absl::StrAppend(&what, " after ", Text(fault.ioctl().delay()));
      return what;
    }
    case pb::Fault::kDeviceGone:
      return fault.device_gone().device();
    case pb::Fault::KIND_NOT_SET:
      return "";
    default: {
      const auto* field = pb::Fault::descriptor()->FindFieldByNumber(fault.kind_case());
      const auto& unit =
          static_cast<const pb::UnitFault&>(fault.GetReflection()->GetMessage(fault, field));
      return unit.unit().empty() ? "any" : unit.unit();
    }
  }
}

std::string KindName(const pb::Fault& fault) {
  const auto* field = pb::Fault::descriptor()->FindFieldByNumber(fault.kind_case());
  std::string name = field != nullptr ? field->name() : "";
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

absl::Status ListFaults(const DebugOptions& options, Session& session) {
  pb::ListFaultsResponse response;
  BERTH_RETURN_IF_ERROR(Call<pb::EmulatorFaults>(options, pb::ListFaultsRequest(), &response,
                                                 &pb::EmulatorFaults::Stub::ListFaults));
  if (IsData(options.format)) {
    session.out() << WriteMessage(response, options.format);
    return absl::OkStatus();
  }
  if (response.faults().empty()) {
    session.err() << "No faults found.\n";
    return absl::OkStatus();
  }
  std::vector<TableRow> rows;
  for (const pb::Fault& fault : response.faults()) {
    rows.push_back({absl::StrCat(fault.id()), KindName(fault), absl::StrCat(fault.skip()),
                    fault.count() == 0 ? "-" : absl::StrCat(fault.count()),
                    absl::StrCat(fault.met()), absl::StrCat(fault.struck()),
                    TextCell(What(fault))});
  }
  session.out() << Table({"ID", "KIND", "SKIP", "COUNT", "MET", "STRUCK", "WHAT"}, rows);
  return absl::OkStatus();
}

absl::Status Create(const DebugOptions& options, pb::Fault fault, Session& session) {
  pb::CreateFaultRequest request;
  fault.set_skip(options.skip);
  fault.set_count(fault.has_device_gone() ? 0 : options.count);
  *request.mutable_fault() = std::move(fault);
  pb::Fault created;
  BERTH_RETURN_IF_ERROR(
      Call<pb::EmulatorFaults>(options, request, &created, &pb::EmulatorFaults::Stub::CreateFault));
  session.out() << "fault/" << created.id() << " armed: " << KindName(created) << " "
                << What(created) << "\n";
  return absl::OkStatus();
}

absl::Status AddIoctlFault(const DebugOptions& options, Session& session) {
  pb::Fault fault;
  pb::IoctlFault* ioctl = fault.mutable_ioctl();
  ioctl->set_request(options.request);
  ioctl->set_error(options.error);
  if (!options.delay.empty()) {
    BERTH_ASSIGN_OR_RETURN(const absl::Duration delay, ParseTimeout(options.delay));
    *ioctl->mutable_delay() = ToProtoDuration(delay);
  }
  return Create(options, std::move(fault), session);
}

template <pb::UnitFault* (pb::Fault::*mutable_kind)()>
absl::Status AddUnitFault(const DebugOptions& options, Session& session) {
  pb::Fault fault;
  (fault.*mutable_kind)()->set_unit(options.subject);
  return Create(options, std::move(fault), session);
}

absl::Status AddDeviceGone(const DebugOptions& options, Session& session) {
  pb::Fault fault;
  fault.mutable_device_gone()->set_device(options.subject);
  return Create(options, std::move(fault), session);
}

absl::Status RemoveFaults(const DebugOptions& options, Session& session) {
  if (options.all) {
    pb::ClearFaultsResponse response;
    BERTH_RETURN_IF_ERROR(Call<pb::EmulatorFaults>(options, pb::ClearFaultsRequest(), &response,
                                                   &pb::EmulatorFaults::Stub::ClearFaults));
    session.out() << response.cleared() << " faults removed\n";
    return absl::OkStatus();
  }
  if (options.ids.empty()) return UsageError("say which faults, or --all");
  for (const uint64_t id : options.ids) {
    pb::DeleteFaultRequest request;
    request.set_id(id);
    google::protobuf::Empty response;
    const absl::Status status = Call<pb::EmulatorFaults>(options, request, &response,
                                                         &pb::EmulatorFaults::Stub::DeleteFault);
    session.Report(status);
    if (status.ok()) session.out() << "fault/" << id << " removed\n";
  }
  return absl::OkStatus();
}

using Work = absl::Status (*)(const DebugOptions&, Session&);

CLI::App* AddDebugCommand(CLI::App* parent, const std::shared_ptr<DebugOptions>& options,
                          const char* name, const char* description, Run* run, Work work) {
  return AddCommand(*parent, name, description, run,
                    [options, work](Session& session) { return work(*options, session); });
}

// "ioctl", "atc-timeout", ...: one subcommand for each kind of fault.
void AddFaultKinds(CLI::App* add, const std::shared_ptr<DebugOptions>& options, Run* run) {
  CLI::App* ioctl = AddDebugCommand(add, options, "ioctl",
                                    "An ioctl fails, takes its time, or both", run, &AddIoctlFault);
  ioctl->add_option("request", options->request, "Which: HW_QUEUE_ALLOC, VFIO_DEVICE_RESET, ...")
      ->required()
      ->type_name("NAME");
  ioctl->add_option("--error", options->error, "What it answers instead of being executed")
      ->type_name("ERRNO");
  ioctl
      ->add_option("--delay", options->delay,
                   "How long it takes, up to a minute or until the fault is deleted")
      ->type_name("DURATION");
  struct UnitKind {
    const char* name;
    const char* description;
    Work work;
  };
  const UnitKind kinds[] = {
      {"atc-timeout", "A device does not answer an ATC_INV; its CMD_SYNC stops with CONS.ERR 3",
       &AddUnitFault<&pb::Fault::mutable_atc_timeout>},
      {"stuck-status", "A STATUS of the CMDQV does not follow its CONFIG: ETIMEDOUT",
       &AddUnitFault<&pb::Fault::mutable_stuck_status>},
      {"lost-event", "An event finds its vEVENTQ full",
       &AddUnitFault<&pb::Fault::mutable_lost_event>},
      {"non-contiguous", "The memory of a queue is not contiguous: EFAULT",
       &AddUnitFault<&pb::Fault::mutable_non_contiguous>},
  };
  std::vector<CLI::App*> counted = {ioctl};
  for (const UnitKind& kind : kinds) {
    counted.push_back(AddDebugCommand(add, options, kind.name, kind.description, run, kind.work));
    counted.back()->add_option("unit", options->subject, "On which unit [any]")->type_name("UNIT");
  }
  for (CLI::App* command : counted) {
    command->add_option("--skip", options->skip, "Occasions that pass before it strikes [0]")
        ->type_name("N");
    command->add_option("--count", options->count, "How often it strikes; 0: until removed [1]")
        ->type_name("N");
  }
  AddDebugCommand(add, options, "device-gone", "A device is pulled out, until the fault is removed",
                  run, &AddDeviceGone)
      ->add_option("device", options->subject, "Its PCI address")
      ->required()
      ->type_name("ADDRESS");
}

}  // namespace

void AddDebug(CLI::App& app, Run* run) {
  auto options = std::make_shared<DebugOptions>();
  CLI::App* debug =
      app.add_subcommand("debug", "Look into a local emulator, and make it do wrong on purpose");
  debug->fallthrough()->require_subcommand(1);
  debug->add_option("--emulator", options->emulator, "Its runtime folder")
      ->envname("BERTH_EMULATOR_DIR")
      ->required()
      ->type_name("DIR");
  CLI::App* stats = AddDebugCommand(debug, options, "stats",
                                    "Show what it holds, and the commands it counted", run, &Stats);
  AddOutput(stats, Formats::kData, &options->format);
  CLI::App* faults = debug->add_subcommand("faults", "Faults that are armed in it");
  faults->fallthrough()->require_subcommand(1);
  CLI::App* list = AddDebugCommand(faults, options, "list", "Show them, and how often they struck",
                                   run, &ListFaults);
  AddOutput(list, Formats::kData, &options->format);
  CLI::App* add = faults->add_subcommand("add", "Arm one");
  add->fallthrough()->require_subcommand(1);
  AddFaultKinds(add, options, run);
  CLI::App* remove = AddDebugCommand(faults, options, "remove", "Disarm", run, &RemoveFaults);
  CLI::Option* ids = remove->add_option("id", options->ids, "Which")->type_name("ID");
  CLI::Option* all = remove->add_flag("--all", options->all, "All of them");
  ids->excludes(all);
}

}  // namespace berth::cli
