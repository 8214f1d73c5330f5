// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/controller_config.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/store/etcd/layout.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using internal::v1::ControllerConfig;
using internal::v1::RoleBinding;

constexpr char kDefaultApi[] = "127.0.0.1:7440";
constexpr char kDefaultAgentLink[] = "127.0.0.1:7441";
constexpr int kMaxRoles = 1000;
constexpr int kMaxEndpoints = 16;

std::string AbsolutePath(const fs::path& folder, const std::string& path) {
  return (folder / path).lexically_normal().string();
}

absl::Status FinishTime(const char* name, absl::Duration fallback,
                        google::protobuf::Duration* value, bool given) {
  if (!given) {
    value->set_seconds(absl::ToInt64Seconds(fallback));
    return absl::OkStatus();
  }
  if (FromProtoDuration(*value) < absl::Milliseconds(10) ||
      FromProtoDuration(*value) > absl::Hours(24)) {
    return Error(Reason::kInvalidField, absl::StrCat("liveness.", name, " is not 10ms to 24h"));
  }
  return absl::OkStatus();
}

absl::Status FinishLiveness(internal::v1::LivenessConfig* liveness) {
  const bool interval = liveness->has_heartbeat_interval();
  const bool suspect = liveness->has_suspect_after();
  const bool lost = liveness->has_lost_after();
  BERTH_RETURN_IF_ERROR(FinishTime("heartbeat_interval", absl::Seconds(1),
                                   liveness->mutable_heartbeat_interval(), interval));
  BERTH_RETURN_IF_ERROR(
      FinishTime("suspect_after", absl::Seconds(3), liveness->mutable_suspect_after(), suspect));
  BERTH_RETURN_IF_ERROR(
      FinishTime("lost_after", absl::Seconds(60), liveness->mutable_lost_after(), lost));
  if (FromProtoDuration(liveness->suspect_after()) <=
          FromProtoDuration(liveness->heartbeat_interval()) ||
      FromProtoDuration(liveness->lost_after()) <= FromProtoDuration(liveness->suspect_after())) {
    return Error(Reason::kInvalidField,
                 "liveness: heartbeat_interval < suspect_after < lost_after does not hold");
  }
  return absl::OkStatus();
}

absl::Status FinishAudit(internal::v1::AuditConfig* audit) {
  if (!audit->has_interval()) audit->mutable_interval()->set_seconds(60);
  const absl::Duration interval = FromProtoDuration(audit->interval());
  if (interval < absl::Milliseconds(100) || interval > absl::Hours(24)) {
    return Error(Reason::kInvalidField, "audit.interval is not 100ms to 24h");
  }
  return absl::OkStatus();
}

absl::Status FinishLimits(internal::v1::ControllerLimits* limits) {
  if (limits->assignments() < 0 || limits->hosts() < 0 || limits->watchers() < 0 ||
      limits->watch_buffer() < 0) {
    return Error(Reason::kInvalidField, "limits: a limit is negative; 0 takes the default");
  }
  if (limits->assignments() == 0) limits->set_assignments(1'000'000);
  if (limits->hosts() == 0) limits->set_hosts(50'000);
  if (limits->watchers() == 0) limits->set_watchers(2000);
  if (limits->watch_buffer() == 0) limits->set_watch_buffer(10'000);
  return absl::OkStatus();
}

absl::Status CheckRoles(const ControllerConfig& config) {
  if (config.roles_size() > kMaxRoles) {
    return Error(Reason::kInvalidField, absl::StrCat("roles: more than ", kMaxRoles));
  }
  bool agents = false;
  bool people = false;
  for (const internal::v1::RoleBinding& binding : config.roles()) {
    if (binding.identity().empty() || binding.role() == RoleBinding::ROLE_UNSPECIFIED) {
      return Error(Reason::kMissingField, "roles: an entry lacks its identity or its role");
    }
    (binding.role() == RoleBinding::AGENT ? agents : people) = true;
  }
  if (!config.agent_link().tls().ca_file().empty() && !agents) {
    return Error(Reason::kMissingField,
                 "agent_link asks for certificates (ca_file), and roles names no AGENT");
  }
  if (!config.api().tls().ca_file().empty() && !people) {
    return Error(Reason::kMissingField,
                 "api asks for certificates (ca_file), and roles names nobody who may call it");
  }
  return absl::OkStatus();
}

absl::Status FinishEtcd(const fs::path& folder, internal::v1::EtcdStoreConfig* etcd) {
  if (etcd->endpoints().empty() || etcd->endpoints_size() > kMaxEndpoints) {
    return Error(Reason::kMissingField, absl::StrCat("store.etcd.endpoints: 1 to ", kMaxEndpoints,
                                                     " addresses are needed, \"10.0.0.1:2379\""));
  }
  if (etcd->prefix().empty()) etcd->set_prefix("/berth");
  BERTH_RETURN_IF_ERROR(Annotate(ValidateEtcdPrefix(etcd->prefix()), "store.etcd.prefix"));
  if (etcd->has_user()) {
    if (etcd->user().name().empty() || etcd->user().password_file().empty()) {
      return Error(Reason::kMissingField, "store.etcd.user: needs a name and a password_file");
    }
    etcd->mutable_user()->set_password_file(AbsolutePath(folder, etcd->user().password_file()));
  }
  if (!etcd->has_lease_ttl()) etcd->mutable_lease_ttl()->set_seconds(3);
  const absl::Duration ttl = FromProtoDuration(etcd->lease_ttl());
  if (ttl < absl::Seconds(2) || ttl > absl::Minutes(10)) {
    return Error(Reason::kInvalidField, "store.etcd.lease_ttl is not 2s to 10m");
  }
  return absl::OkStatus();
}

absl::Status FinishStore(const fs::path& folder, internal::v1::StoreConfig* store) {
  switch (store->kind_case()) {
    case internal::v1::StoreConfig::kSqlite:
      if (store->sqlite().path().empty()) {
        return Error(Reason::kMissingField,
                     "store.sqlite.path is missing: the file that keeps the state");
      }
      store->mutable_sqlite()->set_path(AbsolutePath(folder, store->sqlite().path()));
      break;
    case internal::v1::StoreConfig::kMemory:
      break;
    case internal::v1::StoreConfig::kEtcd:
      return FinishEtcd(folder, store->mutable_etcd());
    case internal::v1::StoreConfig::KIND_NOT_SET:
      return Error(Reason::kMissingField,
                   "store is missing: \"sqlite: {path: ...}\", \"etcd: {endpoints: [...]}\" or"
                   " \"memory: {}\"");
  }
  return absl::OkStatus();
}

// Whether `address` is one that others can dial.
bool IsDialable(const std::string& address) {
  return !absl::StartsWith(address, "0.0.0.0:") && !absl::StartsWith(address, "[::]:") &&
         !absl::StartsWith(address, ":") && !absl::StartsWith(address, "*:");
}

absl::Status CheckAdvertised(const ControllerConfig& config) {
  if (!config.store().has_etcd()) return absl::OkStatus();
  const internal::v1::AdvertiseConfig& advertise = config.advertise();
  if ((advertise.api().empty() && !IsDialable(config.api().address())) ||
      (advertise.agent_link().empty() && !IsDialable(config.agent_link().address()))) {
    return Error(Reason::kMissingField,
                 "advertise.api or advertise.agent_link is missing: a listener has all addresses of"
                 " its machine, and controllers that stand by must know one to send others to");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FinishControllerConfig(const std::string& config_path, ControllerConfig* config) {
  const fs::path folder = fs::absolute(config_path).parent_path();
  if (config->api().address().empty()) config->mutable_api()->set_address(kDefaultApi);
  if (config->agent_link().address().empty()) {
    config->mutable_agent_link()->set_address(kDefaultAgentLink);
  }
  if (config->log().level().empty()) config->mutable_log()->set_level("info");
  BERTH_RETURN_IF_ERROR(FinishStore(folder, config->mutable_store()));
  if (config->cluster_key_file().empty()) {
    return Error(
        Reason::kMissingField,
        "cluster_key_file is missing: a file for the key that attach tokens are made from; it is "
        "created when it does not exist");
  }
  config->set_cluster_key_file(AbsolutePath(folder, config->cluster_key_file()));
  BERTH_RETURN_IF_ERROR(CheckRoles(*config));
  BERTH_RETURN_IF_ERROR(CheckAdvertised(*config));
  BERTH_RETURN_IF_ERROR(FinishLiveness(config->mutable_liveness()));
  BERTH_RETURN_IF_ERROR(FinishAudit(config->mutable_audit()));
  return FinishLimits(config->mutable_limits());
}

}  // namespace berth
