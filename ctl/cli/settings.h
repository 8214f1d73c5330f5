// SPDX-License-Identifier: Apache-2.0
//
// Which controllers berthctl talks to. Flags win over the environment, the environment over the
// configuration file, the file over what is built in.
#ifndef BERTH_CTL_CLI_SETTINGS_H_
#define BERTH_CTL_CLI_SETTINGS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/rpc/credentials.h"

namespace berth::internal::v1 {
class ClientConfig;
}  // namespace berth::internal::v1

namespace berth::cli {

inline constexpr char kDefaultAddress[] = "127.0.0.1:7440";

// Either what flags say or what the environment says; empty: nothing.
struct SettingsSource {
  std::vector<std::string> servers;
  std::string context;
  std::string config_path;
  TlsOptions tls;
};

struct Settings {
  std::vector<std::string> addresses;  // at least one
  TlsOptions tls;
};

// A configuration file that need not exist, or that somebody has named and so must.
struct ConfigFile {
  enum class Presence { kOptional, kRequired };
  std::string path;  // empty: there is none
  Presence presence = Presence::kOptional;
};

// `home` is the user's home folder, or empty.
ConfigFile FindConfigFile(const SettingsSource& flags, const SettingsSource& environment,
                          const std::string& home);

// Errors: those of LoadYamlFile() as kInvalidField; kInvalidField for contexts without a name or
// addresses, or with equal names.
absl::StatusOr<internal::v1::ClientConfig> LoadClientConfig(const ConfigFile& file);

// Makes `context` the current one and writes the file. kNotFound: there is no such context.
absl::Status UseContext(const ConfigFile& file, const std::string& context);

// Errors: those of LoadClientConfig(); kNotFound when a context is named that does not exist.
absl::StatusOr<Settings> ResolveSettings(const SettingsSource& flags,
                                         const SettingsSource& environment, const ConfigFile& file);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_SETTINGS_H_
