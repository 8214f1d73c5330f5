// SPDX-License-Identifier: Apache-2.0
//
// The noun "host".
#include "absl/strings/str_cat.h"
#include "ctl/cli/failure.h"
#include "ctl/cli/printer/host.h"
#include "ctl/cli/resource.h"
#include "ctl/cli/resource_common.h"
#include "lib/base/absl_view.h"

namespace berth::cli {
namespace {

using google::protobuf::Message;
using v1::Host;

constexpr int kPageSize = 500;
// With their devices, hosts are large, and an answer has at most 4 MiB.
constexpr int kFullPageSize = 20;

const Host& Cast(const Message& message) { return static_cast<const Host&>(message); }

v1::View ViewOf(Detail detail) { return detail == Detail::kEverything ? v1::FULL : v1::BASIC; }

class Type : public ResourceType {
 public:
  std::string_view singular() const override { return "host"; }
  std::string_view collection() const override { return "hosts"; }
  std::vector<std::string_view> aliases() const override { return {"ho"}; }

  absl::StatusOr<MessagePtr> Get(Client& client, const std::string& name) const override {
    v1::GetHostRequest request;
    request.set_name(name);
    request.set_view(v1::FULL);
    BERTH_ASSIGN_OR_RETURN(Host host, client.GetHost(request));
    return std::make_shared<Host>(std::move(host));
  }

  absl::StatusOr<std::vector<MessagePtr>> List(Client& client, const Filter& filter,
                                               Detail detail) const override {
    v1::ListHostsRequest request;
    request.set_page_size(detail == Detail::kEverything ? kFullPageSize : kPageSize);
    request.set_view(ViewOf(detail));
    request.mutable_label_selector()->insert(filter.labels.begin(), filter.labels.end());
    return ListAll(client, &Client::ListHosts, std::move(request),
                   [](auto& page) { return page.mutable_hosts(); });
  }

  absl::StatusOr<std::string> Position(Client& client) const override {
    return WatchPosition(client, &Client::ListHosts);
  }

  absl::Status Watch(Client& client, const WatchQuery& query,
                     const std::function<Next(const WatchBatch&)>& on_batch) const override {
    v1::WatchHostsRequest request;
    request.set_name(query.name);
    request.set_watch_token(query.token);
    request.set_view(ViewOf(query.detail));
    return client.WatchHosts(request, [&](const v1::WatchHostsResponse& response) {
      return on_batch(
          ToBatch(response, [](const auto& event) -> const Message& { return event.host(); }));
    });
  }

  absl::StatusOr<Deletion> Delete(Client& client, const DeleteOptions& options) const override {
    if (options.dry_run) return UsageError("--dry-run is for assignments only");
    v1::DeleteHostRequest request;
    request.set_name(options.name);
    request.set_request_id(options.request_id);
    request.set_gone(options.gone);
    const absl::Status status = client.DeleteHost(request).status();
    if (absl::IsNotFound(status) && options.ignore_missing) return Deletion::kMissing;
    BERTH_RETURN_IF_ERROR(status);
    return options.gone ? Deletion::kStarted : Deletion::kDone;
  }

  bool Matches(const Message& resource, const Filter& filter) const override {
    return HasLabels(Cast(resource).labels(), filter);
  }

  const std::string& NameOf(const Message& resource) const override {
    return Cast(resource).name();
  }
  const std::string& UidOf(const Message& resource) const override { return Cast(resource).uid(); }

  TableRow Header(Width width) const override { return HostHeader(width); }
  TableRow Row(const Message& resource, Width width, absl::Time now) const override {
    return HostRow(Cast(resource), width, now);
  }
  std::string Describe(const Message& resource, absl::Time now) const override {
    return DescribeHost(Cast(resource), now);
  }
  std::string StateOf(const Message& resource) const override { return HostState(Cast(resource)); }

  absl::StatusOr<Goal> ParseGoal(std::string_view text) const override {
    constexpr std::string_view kState = "state=";
    if (text == "deleted") return UntilDeleted();
    if (text == "drained") {
      return Goal{
          .text = std::string(text), .reached = [](const Message& message) -> absl::StatusOr<bool> {
            const Host& host = Cast(message);
            if (host.draining()) return IsDrained(host);
            return Error(Reason::kStateConflict,
                         absl::StrCat(LabelOf(HostType(), host.name()), " is not being drained"));
          }};
    }
    const std::string_view state = text == "ready"            ? "READY"
                                   : text.starts_with(kState) ? text.substr(kState.size())
                                                              : "";
    const auto wanted = ParseEnum(state, Host::State_Parse);
    if (!wanted.has_value()) {
      return UsageError(absl::StrCat("--for=", AbslView(text),
                                     ": a host can become ready, drained, deleted or state=STATE"));
    }
    return Goal{.text = std::string(text),
                .reached = [state = *wanted](const Message& host) -> absl::StatusOr<bool> {
                  return Cast(host).state() == state;
                }};
  }
};

}  // namespace

const ResourceType& HostType() {
  static const Type kType;
  return kType;
}

}  // namespace berth::cli
