// SPDX-License-Identifier: Apache-2.0
//
// What the implementations of ResourceType have in common.
#ifndef BERTH_CTL_CLI_RESOURCE_COMMON_H_
#define BERTH_CTL_CLI_RESOURCE_COMMON_H_

#include <google/protobuf/map.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "ctl/cli/resource.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth::cli {

// All pages of `list`; `items` picks the repeated field out of a response.
template <typename Request, typename Response, typename Items>
absl::StatusOr<std::vector<MessagePtr>> ListAll(
    Client& client, absl::StatusOr<Response> (Client::*list)(const Request&), Request request,
    Items items) {
  std::vector<MessagePtr> all;
  do {
    BERTH_ASSIGN_OR_RETURN(Response page, (client.*list)(request));
    for (auto& item : *items(page)) {
      all.push_back(std::make_shared<std::decay_t<decltype(item)>>(std::move(item)));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

template <typename Request, typename Response>
absl::StatusOr<std::string> WatchPosition(
    Client& client, absl::StatusOr<Response> (Client::*list)(const Request&)) {
  Request request;
  request.set_page_size(1);
  BERTH_ASSIGN_OR_RETURN(const Response page, (client.*list)(request));
  return page.watch_token();
}

// `resource` picks the resource out of an event.
template <typename Response, typename Resource>
WatchBatch ToBatch(const Response& response, Resource resource) {
  WatchBatch batch;
  batch.token = response.watch_token();
  for (const auto& event : response.events()) {
    using Event = std::decay_t<decltype(event)>;
    auto copy = std::make_shared<const Event>(event);
    Change change;
    change.type = event.type() == Event::DELETE ? Change::Type::kDelete : Change::Type::kPut;
    // Shares the event's ownership.
    change.resource = MessagePtr(copy, &resource(*copy));
    change.event = std::move(copy);
    batch.changes.push_back(std::move(change));
  }
  return batch;
}

inline bool HasLabels(const google::protobuf::Map<std::string, std::string>& labels,
                      const Filter& filter) {
  return std::all_of(filter.labels.begin(), filter.labels.end(), [&](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

// The value of an enum by its name, in any case; not the unspecified one.
template <typename Enum>
std::optional<Enum> ParseEnum(std::string_view text,
                              bool (*parse)(const std::string& name, Enum* value)) {
  Enum value{};
  if (!parse(absl::AsciiStrToUpper(AbslView(text)), &value) || static_cast<int>(value) == 0) {
    return std::nullopt;
  }
  return value;
}

// The goal "deleted", which every kind has.
inline Goal UntilDeleted() { return {.text = "deleted", .deleted = true, .reached = nullptr}; }

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_RESOURCE_COMMON_H_
