// SPDX-License-Identifier: Apache-2.0
//
// Options that mean the same in every command that has them.
#ifndef BERTH_CTL_CLI_COMMANDS_FLAGS_H_
#define BERTH_CTL_CLI_COMMANDS_FLAGS_H_

#include <google/protobuf/duration.pb.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/cli/commands/commands.h"
#include "ctl/cli/printer/output.h"
#include "ctl/cli/replace_file.h"

namespace CLI {
class Option;
}  // namespace CLI

namespace berth::cli {

// Makes the subcommand `name`, whose options are an Options and whose work is `work(options,
// session)`. Returns both for options to be added.
CLI::App* AddCommand(CLI::App& app, const char* name, const char* description, Run* run, Run work);
template <typename Options>
std::pair<CLI::App*, Options*> AddCommand(CLI::App& app, const char* name, const char* description,
                                          Run* run,
                                          absl::Status (*work)(const Options&, Session&)) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(app, name, description, run, [options, work](Session& session) {
    return work(*options, session);
  });
  return {command, options.get()};
}

// -o, with the formats that the command has besides its text.
enum class Formats { kData, kDataAndName, kAll };
void AddOutput(CLI::App* command, Formats formats, Format* format);

// The positional arguments "TYPE [NAME...] | TYPE/NAME...", required. So is -f below; what has both
// makes them optional.
CLI::Option* AddTargets(CLI::App* command, std::vector<std::string>* words);
// The positional arguments NAME...
void AddNames(CLI::App* command, const char* name, const char* description,
              std::vector<std::string>* words);

// -f, which may be given several times.
CLI::Option* AddFiles(CLI::App* command, std::vector<std::string>* files);

// What `get` and `watch` share: -o, --no-headers, -l, --host.
struct ViewFlags {
  Format format = Format::kTable;
  Headers headers = Headers::kYes;
  std::vector<std::string> selector;
  std::string host;

  absl::StatusOr<Filter> filter() const;
};
void AddViewFlags(CLI::App* command, ViewFlags* flags);

// What commands that return an attach token share. The token is a secret: it goes into a file that
// only its owner can read, or out on request.
struct TokenFlags {
  std::string file;
  bool show = false;
};
void AddTokenFlags(CLI::App* command, TokenFlags* flags);

// The value `text` of the option `name`: "90s", "1h30m". kInvalidArgument.
absl::StatusOr<google::protobuf::Duration> ParseDuration(std::string_view name,
                                                         std::string_view text);

void AddRequestId(CLI::App* command, std::string* request_id);
// The given one, else a fresh UUID: what makes repeating a mutation harmless.
std::string RequestIdOr(const std::string& given);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_COMMANDS_FLAGS_H_
