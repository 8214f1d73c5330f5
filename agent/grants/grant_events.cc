// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant that hears its event queues.
#include <optional>
#include <utility>
#include <vector>

#include "agent/grants/grant.h"
#include "lib/base/status.h"

namespace berth {

void Grant::OnEvents(size_t queue) {
  if (events_ == nullptr) return;
  AfterCall(events_->OnReady(queue));
}

void Grant::NoteEvents(uint32_t unit, Veventq::Type type,
                       const absl::StatusOr<std::vector<Vevent>>& read) {
  if (!env_.options.on_events || context_ == nullptr || guest_ == nullptr) return;
  EventAccount::Source source{
      .unit = context_->units()[unit].facts.id, .type = type, .streams = {}};
  for (const size_t device : context_->units()[unit].devices) {
    const Guest::StreamObjects& stream = guest_->streams()[device];
    std::optional<uint32_t> vsid;
    if (stream.vdevice.has_value()) vsid = stream.vsid;
    source.streams.push_back({context_->facts(device).id, vsid});
  }
  std::vector<EventNews> news;
  if (read.ok()) {
    news = event_account_.OnRead(source, *read);
  } else {
    news.push_back(EventAccount::OnUnreadable(source, read.status()));
  }
  if (news.empty()) return;
  events_noted_ = true;
  env_.options.on_events(uid_, news);
}

void Grant::EndEvents() {
  if (std::exchange(events_noted_, false)) env_.options.on_events(uid_, {});
}

}  // namespace berth
