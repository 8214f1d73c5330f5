// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_LINK_HEALTH_H_
#define BERTH_CTL_CONTROLLER_BOOK_LINK_HEALTH_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "berth/v1/condition.pb.h"
#include "berth/v1/selector.pb.h"

namespace berth {

// How the connection with one agent has fared lately, as this controller has seen it; the next
// leader begins anew. A link that flaps taints its host: what is placed there would wait for a
// prepare that nobody can command. One session that ends is an agent that was restarted, and a
// Hello that is refused leaves the host without a session, which makes it SUSPECT and LOST: neither
// needs a taint. Not thread-safe.
class LinkHealth {
 public:
  static constexpr char kCondition[] = "LinkHealthy";
  static constexpr char kFlappingTaint[] = "berth/link-flapping";
  // It flaps when so many sessions have ended within kWindow, and until none has for kStable and
  // one stands.
  static constexpr size_t kFlaps = 5;
  static constexpr absl::Duration kWindow = absl::Minutes(1);
  static constexpr absl::Duration kStable = absl::Minutes(1);

  // Each returns whether condition() or taint() has changed.

  // A session that had got as far as Welcome has ended. `why`: OK when its agent ended it.
  bool NoteEnd(absl::Time now, const absl::Status& why);
  // A Hello of the host's own machine was refused. Over with the next one that is accepted, or,
  // when another process of that machine keeps a session, kStable after the last.
  bool NoteRefused(absl::Time now, const absl::Status& why);
  bool NoteWelcome();
  // From time to time.
  bool Review(absl::Time now, bool connected);

  // False while something is wrong, absent else.
  [[nodiscard]] std::optional<v1::Condition> condition() const;
  [[nodiscard]] std::optional<v1::Taint> taint() const;

 private:
  struct Trouble {
    absl::Status why;
    std::string message;
    absl::Time since;
    absl::Time latest;
  };

  std::vector<absl::Time> ends_;  // at most kFlaps, the latest last
  std::optional<Trouble> flapping_;
  std::optional<Trouble> refused_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_LINK_HEALTH_H_
