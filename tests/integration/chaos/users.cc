// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/chaos/users.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "tests/integration/cluster.h"

namespace berth::testing {

using v1::Assignment;

Users::Users(Options options, History* history) : options_(std::move(options)), history_(*history) {
  for (int i = 0; i < options_.count; ++i) threads_.emplace_back([this, i] { Run(i); });
}

Users::~Users() {
  giving_up_ = true;
  Finish();
}

void Users::Pause() {
  absl::MutexLock lock(&mu_);
  pausing_ = true;
}

bool Users::paused() const {
  absl::MutexLock lock(&mu_);
  return idle_ == options_.count;
}

void Users::Resume() {
  absl::MutexLock lock(&mu_);
  pausing_ = false;
}

void Users::Finish() {
  {
    absl::MutexLock lock(&mu_);
    finishing_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

bool Users::MayGoOn() {
  absl::MutexLock lock(&mu_);
  ++idle_;
  const auto may = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !pausing_ || finishing_; };
  mu_.Await(absl::Condition(&may));
  --idle_;
  return !finishing_;
}

template <typename Result>
Result Users::Ask(const std::function<Result(cli::Client&)>& call) {
  for (size_t turn = 0;; ++turn) {
    const std::string& address = options_.controllers[turn % options_.controllers.size()];
    auto client = cli::Client::Make({.addresses = {address},
                                     .deadline = absl::Now() + absl::Seconds(2),
                                     .first_backoff = absl::Milliseconds(50),
                                     .clock = &Clock::Real()});
    EXPECT_TRUE(client.ok()) << client.status();
    Result result = call(**client);
    const bool answered =
        !absl::IsUnavailable(result.status()) && !absl::IsDeadlineExceeded(result.status());
    if (answered || giving_up_) return result;
  }
}

void Users::Create(const std::string& id, std::mt19937& random, std::vector<Held>* mine) {
  v1::CreateAssignmentRequest request = MakeRequest(id, OneOf("nic"));
  request.set_request_id("create-" + id);
  const auto create = [&] {
    ++operations_;
    return Ask<absl::StatusOr<Assignment>>(
        [&](cli::Client& client) { return client.CreateAssignment(request); });
  };
  const absl::StatusOr<Assignment> created = create();
  if (giving_up_) return;
  if (!created.ok()) {
    const Reason reason = ReasonOf(created.status());
    EXPECT_TRUE(reason == Reason::kNoCapacity || reason == Reason::kHostNotReady)
        << created.status();
    ::poll(nullptr, 0, 20);
    return;
  }
  mine->push_back({.id = id, .attach_token = created->attach_token()});
  history_.Created(request, *created);
  if (random() % 4 != 0) return;
  const absl::StatusOr<Assignment> again = create();
  if (giving_up_) return;
  ASSERT_TRUE(again.ok()) << again.status();
  history_.Created(request, *again);
}

void Users::Delete(const std::string& id) {
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/" + id);
  request.set_request_id("delete-" + id);
  ++operations_;
  history_.DeleteAsked(id);
  const auto deleted = Ask<absl::StatusOr<Assignment>>(
      [&](cli::Client& client) { return client.DeleteAssignment(request); });
  if (giving_up_) return;
  EXPECT_TRUE(deleted.ok()) << id
                            << " was lost, or a repeated Delete is refused: " << deleted.status();
  history_.Deleted(id);
}

void Users::Attach(const Held& held, std::mt19937& random) {
  const std::string& id = held.id;
  v1::GetAssignmentRequest get;
  get.set_name("assignments/" + id);
  ++operations_;
  const auto now = Ask<absl::StatusOr<Assignment>>(
      [&](cli::Client& client) { return client.GetAssignment(get); });
  if (giving_up_) return;
  ASSERT_TRUE(now.ok()) << id << " was lost: " << now.status();
  if (now->intent() != Assignment::PLACED) return;
  const std::string out = absl::StrCat(options_.folder, "/", id, ".vmm");
  Process vmm({.program = ProgramFile("berth-example-vmm"),
               .args = {"--socket", now->placement().attach_endpoint(), "--assignment", now->uid(),
                        "--token", held.attach_token, "--hold", "--trace",
                        SourceFile("tests/data/traces/boot")},
               .out = out,
               .err = ""});
  // The kernel or the agent may be gone: then it is not said what becomes of a VMM.
  for (int looks = 0; looks < 100 && vmm.running(); ++looks) {
    if (ReadFile(out).find("holding") != std::string::npos) {
      ++attached_;
      ++operations_;
      break;
    }
    ::poll(nullptr, 0, 20);
  }
  ::poll(nullptr, 0, static_cast<int>(random() % 200));
  if (random() % 2 == 0) {
    if (vmm.running()) ++killed_;
    vmm.Kill();
  } else {
    vmm.CloseStdin();
    for (int looks = 0; looks < 100 && vmm.running(); ++looks) ::poll(nullptr, 0, 20);
  }
}

void Users::Run(int user) {
  std::mt19937 random(options_.seed + static_cast<uint32_t>(user));
  std::vector<Held> mine;
  for (int i = 0; MayGoOn(); ++i) {
    const std::string id = absl::StrCat("vm-", user, "-", i);
    Create(id, random, &mine);
    if (!mine.empty() && random() % 2 == 0) Attach(mine[random() % mine.size()], random);
    if (mine.size() <= random() % kHeldByEach) continue;
    Delete(mine.front().id);
    mine.erase(mine.begin());
  }
  for (const Held& held : mine) {
    if (!giving_up_) Delete(held.id);
  }
}

}  // namespace berth::testing
