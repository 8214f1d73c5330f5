// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/options.h"

#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>

#include "absl/strings/numbers.h"

namespace berth::handoff {
namespace {

constexpr char kDescription[] =
    "Attaches to an assignment with attach_mode HAND_OFF and gives its iommufd and VFIO devices to "
    "a VMM: to the command behind --, in which {iommufd}, {device:N} and {address:N} are replaced, "
    "or to a running QEMU (--qmp).";
constexpr char kFooter[] =
    "Exit codes: 0 done; 2 command line or token file; 3 the agent refused; 4 QEMU cannot be "
    "reached,\nrefused, or is not the process that was named; 6 the command could not be run. A "
    "command that\nruns has its own.";

void CheckMode(const Options& options) {
  if (options.command.empty() == options.qmp.empty()) {
    throw CLI::ValidationError("either a command behind -- or --qmp is needed");
  }
  const bool for_qmp = options.pid != 0 || !options.properties.empty();
  if (options.qmp.empty() && for_qmp) {
    throw CLI::ValidationError("--pid and --property go with --qmp");
  }
}

}  // namespace

std::optional<Property> ParseProperty(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return std::nullopt;
  Property property{.device = {}, .key = text.substr(0, equals), .value = {}};
  // "addr=05.0" is text to QEMU, though it looks like a number: types are only guessed when asked.
  if (property.key.ends_with(':')) {
    property.key.pop_back();
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(text.substr(equals + 1), &property.value);
    if (!parsed.ok()) return std::nullopt;
  } else {
    property.value.set_string_value(text.substr(equals + 1));
  }
  if (const size_t colon = property.key.find(':'); colon != std::string::npos) {
    uint32_t device = 0;
    if (!absl::SimpleAtoi(property.key.substr(0, colon), &device)) return std::nullopt;
    property.device = device;
    property.key.erase(0, colon + 1);
  }
  if (property.key.empty()) return std::nullopt;
  return property;
}

bool ParseOptions(const std::vector<std::string>& args, Options* options, int* exit_status) {
  const auto end = std::find(args.begin(), args.end(), "--");
  if (end != args.end()) options->command.assign(end + 1, args.end());
  std::vector<std::string> own(args.begin(), end);
  std::reverse(own.begin(), own.end());  // as CLI11 wants a vector

  CLI::App app(kDescription, "berth-handoff");
  app.footer(kFooter);
  app.add_option("--socket", options->socket, "the agent's VMM socket")->required();
  app.add_option("--assignment", options->assignment, "uid of the assignment")->required();
  auto* token = app.add_option("--token", options->token, "attach token");
  auto* file = app.add_option("--token-file", options->token_file, "file with the attach token");
  token->excludes(file);
  app.add_option("--qmp", options->qmp, "QMP socket (UNIX) of a running QEMU");
  app.add_option("--id", options->id,
                 "with --qmp: id of the iommufd object; devices are ID-0, ID-1, ...")
      ->capture_default_str();
  app.add_option("--pid", options->pid,
                 "with --qmp: QEMU's process, when another listens on the socket for it")
      ->check(CLI::PositiveNumber);
  std::vector<std::string> properties;
  app.add_option("--property", properties,
                 "with --qmp: [N:]KEY=TEXT or [N:]KEY:=JSON, a property of vfio-pci for device N, "
                 "or for all; repeatable");
  try {
    app.parse(own);
    for (const std::string& text : properties) {
      const std::optional<Property> property = ParseProperty(text);
      if (!property)
        throw CLI::ValidationError("--property", "not [N:]KEY=TEXT or [N:]KEY:=JSON: " + text);
      options->properties.push_back(*property);
    }
    CheckMode(*options);
    if (token->count() + file->count() == 0) throw CLI::RequiredError("--token or --token-file");
    if (std::ifstream in(options->token_file); file->count() != 0 && !(in >> options->token)) {
      throw CLI::ValidationError("--token-file", "cannot be read: " + options->token_file);
    }
  } catch (const CLI::ParseError& error) {
    *exit_status = app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
    return false;
  }
  return true;
}

}  // namespace berth::handoff
