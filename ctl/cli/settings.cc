// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/settings.h"

#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "berth/internal/v1/client_config.pb.h"
#include "ctl/cli/replace_file.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth::cli {
namespace {

using internal::v1::ClientConfig;
using internal::v1::ClientContext;

absl::Status Check(const ClientConfig& config, const std::string& path) {
  std::set<std::string> names;
  for (const ClientContext& context : config.contexts()) {
    std::string what;
    if (context.name().empty()) {
      what = "a context has no name";
    } else if (!names.insert(context.name()).second) {
      what = absl::StrCat("two contexts have the name \"", context.name(), "\"");
    } else if (context.addresses().empty()) {
      what = absl::StrCat("context \"", context.name(), "\" has no addresses");
    }
    if (!what.empty()) return Error(Reason::kInvalidField, absl::StrCat(path, ": ", what));
  }
  return absl::OkStatus();
}

absl::StatusOr<ClientContext> FindContext(const ClientConfig& config, const std::string& name,
                                          const std::string& path) {
  std::vector<std::string> known;
  for (const ClientContext& context : config.contexts()) {
    if (context.name() == name) return context;
    known.push_back(context.name());
  }
  return Error(Reason::kNotFound,
               absl::StrCat("no context \"", name, "\" in ", path.empty() ? "no file" : path,
                            known.empty() ? "" : "; it has: ", absl::StrJoin(known, ", ")),
               {{"context", name}});
}

void TakeTls(const TlsOptions& from, TlsOptions* to) {
  if (!from.ca_file.empty()) to->ca_file = from.ca_file;
  if (!from.certificate_file.empty()) to->certificate_file = from.certificate_file;
  if (!from.key_file.empty()) to->key_file = from.key_file;
}

void TakeContext(const ClientContext& context, Settings* settings) {
  settings->addresses.assign(context.addresses().begin(), context.addresses().end());
  TakeTls({.certificate_file = context.tls().certificate_file(),
           .key_file = context.tls().key_file(),
           .ca_file = context.tls().ca_file()},
          &settings->tls);
}

}  // namespace

ConfigFile FindConfigFile(const SettingsSource& flags, const SettingsSource& environment,
                          const std::string& home) {
  for (const SettingsSource* source : {&flags, &environment}) {
    if (!source->config_path.empty()) {
      return {.path = source->config_path, .presence = ConfigFile::Presence::kRequired};
    }
  }
  if (home.empty()) return {};
  return {.path = home + "/.config/berth/config.yaml"};
}

absl::StatusOr<ClientConfig> LoadClientConfig(const ConfigFile& file) {
  ClientConfig config;
  const bool required = file.presence == ConfigFile::Presence::kRequired;
  if (!required && (file.path.empty() || ::access(file.path.c_str(), F_OK) != 0)) return config;
  if (const absl::Status status = LoadYamlFile(file.path, &config); !status.ok()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("the configuration cannot be read: ", status.message()),
                 MetadataOf(status));
  }
  BERTH_RETURN_IF_ERROR(Check(config, file.path));
  return config;
}

absl::Status UseContext(const ConfigFile& file, const std::string& context) {
  BERTH_ASSIGN_OR_RETURN(ClientConfig config, LoadClientConfig(file));
  BERTH_RETURN_IF_ERROR(FindContext(config, context, file.path).status());
  config.set_current_context(context);
  BERTH_ASSIGN_OR_RETURN(ReplaceFile replacement, ReplaceFile::Open(file.path));
  return replacement.Commit(ToYaml(config));
}

absl::StatusOr<Settings> ResolveSettings(const SettingsSource& flags,
                                         const SettingsSource& environment,
                                         const ConfigFile& file) {
  Settings settings;
  settings.addresses = {kDefaultAddress};
  const bool server_named = !flags.servers.empty() || !environment.servers.empty();
  BERTH_ASSIGN_OR_RETURN(const ClientConfig config, LoadClientConfig(file));
  // From the weakest to the strongest. The current context speaks only when nobody else does: its
  // certificates are not for a server that somebody has named.
  std::string context = !flags.context.empty() ? flags.context : environment.context;
  if (context.empty() && !server_named) context = config.current_context();
  if (!context.empty()) {
    BERTH_ASSIGN_OR_RETURN(const ClientContext found, FindContext(config, context, file.path));
    TakeContext(found, &settings);
  }
  if (!environment.servers.empty() && flags.context.empty()) {
    settings.addresses = environment.servers;
  }
  if (!flags.servers.empty()) settings.addresses = flags.servers;
  TakeTls(flags.tls, &settings.tls);
  return settings;
}

}  // namespace berth::cli
