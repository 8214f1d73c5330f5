// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/open_store.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/secret_file.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/store/etcd/etcd_medium.h"
#include "lib/store/etcd/etcd_store.h"
#include "lib/store/memory_store.h"
#include "lib/store/sqlite_medium.h"
#include "lib/store/sqlite_store.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;
using internal::v1::EtcdStoreConfig;

constexpr size_t kMaxPasswordBytes = 1024;

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown host";
}

absl::StatusOr<EtcdStoreOptions> EtcdOptionsOf(const ControllerConfig& config) {
  const EtcdStoreConfig& etcd = config.store().etcd();
  EtcdStoreOptions options;
  options.etcd.endpoints.assign(etcd.endpoints().begin(), etcd.endpoints().end());
  options.etcd.tls = {.certificate_file = etcd.tls().certificate_file(),
                      .key_file = etcd.tls().key_file(),
                      .ca_file = etcd.tls().ca_file()};
  if (etcd.has_user()) {
    BERTH_ASSIGN_OR_RETURN(const std::string password,
                           ReadSecretFile(etcd.user().password_file(), kMaxPasswordBytes));
    options.etcd.user = etcd.user().name();
    options.etcd.password = std::string(absl::StripTrailingAsciiWhitespace(password));
  }
  options.prefix = etcd.prefix();
  options.lease_ttl = FromProtoDuration(etcd.lease_ttl());
  return options;
}

StoreOptions CommonOptions() {
  StoreOptions options;
  options.unlogged_kinds = {kRequestKind};
  return options;
}

std::string ThisProcess() { return absl::StrCat("process ", ::getpid(), " on ", HostName()); }

}  // namespace

bool IsShared(const ControllerConfig& config) { return config.store().has_etcd(); }

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const ControllerConfig& config) {
  if (config.store().has_sqlite()) {
    return OpenSqliteStore(config.store().sqlite().path(), {CommonOptions()});
  }
  return OpenMemoryStore(std::make_shared<MemoryMedium>(), CommonOptions());
}

absl::StatusOr<std::unique_ptr<Store>> OpenSharedStore(const ControllerConfig& config, Clock* clock,
                                                       SharedStoreOptions shared) {
  BERTH_ASSIGN_OR_RETURN(EtcdStoreOptions options, EtcdOptionsOf(config));
  static_cast<StoreOptions&>(options) = CommonOptions();
  options.clock = clock;
  options.holder.set_description(
      absl::StrCat("the controller at ", shared.api_address, " (", ThisProcess(), ")"));
  options.holder.set_api_address(shared.api_address);
  options.holder.set_agent_link_address(shared.agent_link_address);
  options.holder.set_cluster_key_fingerprint(shared.cluster_key_fingerprint);
  options.acquire_timeout = absl::InfiniteDuration();
  options.keep_waiting = std::move(shared.keep_waiting);
  options.on_lost = std::move(shared.on_lost);
  return OpenEtcdStore(options);
}

absl::StatusOr<std::unique_ptr<StoreMedium>> StoreMediumOf(const ControllerConfig& config,
                                                           Clock* clock) {
  switch (config.store().kind_case()) {
    case internal::v1::StoreConfig::kSqlite:
      return SqliteMedium(config.store().sqlite().path());
    case internal::v1::StoreConfig::kEtcd: {
      BERTH_ASSIGN_OR_RETURN(EtcdStoreOptions options, EtcdOptionsOf(config));
      options.clock = clock;
      options.holder.set_description(
          absl::StrCat("an administrator's berth-controller store (", ThisProcess(), ")"));
      // Outlasts a controller that has died.
      options.acquire_timeout = options.lease_ttl + absl::Seconds(2);
      return EtcdMedium(std::move(options));
    }
    default:
      return Error(Reason::kUnsupported,
                   "the configuration has its store in memory: it is gone with its controller");
  }
}

}  // namespace berth
