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
  options.holder = absl::StrCat("the controller at ", config.api().address(), " (process ",
                                ::getpid(), " on ", HostName(), ")");
  options.lease_ttl = FromProtoDuration(etcd.lease_ttl());
  options.acquire_timeout = FromProtoDuration(etcd.acquire_timeout());
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const ControllerConfig& config, Clock* clock,
                                                 std::function<void(const absl::Status&)> on_lost) {
  StoreOptions common;
  common.unlogged_kinds = {kRequestKind};
  switch (config.store().kind_case()) {
    case internal::v1::StoreConfig::kSqlite:
      return OpenSqliteStore(config.store().sqlite().path(), {common});
    case internal::v1::StoreConfig::kEtcd: {
      BERTH_ASSIGN_OR_RETURN(EtcdStoreOptions options, EtcdOptionsOf(config));
      static_cast<StoreOptions&>(options) = common;
      options.clock = clock;
      options.on_lost = std::move(on_lost);
      return OpenEtcdStore(options);
    }
    default:
      return OpenMemoryStore(std::make_shared<MemoryMedium>(), common);
  }
}

absl::StatusOr<std::unique_ptr<StoreMedium>> StoreMediumOf(const ControllerConfig& config,
                                                           Clock* clock) {
  switch (config.store().kind_case()) {
    case internal::v1::StoreConfig::kSqlite:
      return SqliteMedium(config.store().sqlite().path());
    case internal::v1::StoreConfig::kEtcd: {
      BERTH_ASSIGN_OR_RETURN(EtcdStoreOptions options, EtcdOptionsOf(config));
      options.clock = clock;
      return EtcdMedium(std::move(options));
    }
    default:
      return Error(Reason::kUnsupported,
                   "the configuration has its store in memory: it is gone with its controller");
  }
}

}  // namespace berth
