// SPDX-License-Identifier: Apache-2.0
//
// What users do with assignments, from create to NOT_FOUND.
#include <openssl/sha.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/store/memory_store.h"
#include "tests/controller/controller_fixture.h"
#include "tests/controller/scripted_store.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

class AssignmentTest : public ControllerTest {
 protected:
  absl::StatusOr<Assignment> Rotate(const std::string& name, const std::string& etag = "") {
    v1::RotateTokenRequest request;
    request.set_name(name);
    request.set_etag(etag);
    return client().Call<Assignment>("AssignmentService/RotateToken", request);
  }
  absl::StatusOr<v1::BatchCreateAssignmentsResponse> Batch(
      const v1::BatchCreateAssignmentsRequest& request) {
    return client().Call<v1::BatchCreateAssignmentsResponse>(
        "AssignmentService/BatchCreateAssignments", request);
  }
  int64_t FreeVintfs() {
    const auto host = client().GetHost("hosts/h1");
    EXPECT_THAT(host, IsOk());
    return host->units(0).vintfs() - host->units(0).used_vintfs();
  }
};

std::string HashOf(const std::string& token) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

TEST_F(AssignmentTest, GoesFromCreateToPreparedOnTheHostThatWasChosen) {
  const auto agent = AddHost();
  auto request = CreateOf("vm", 2);
  request.mutable_assignment()->set_display_name("My VM");
  request.mutable_assignment()->mutable_spec()->set_attach_uid(1000);
  const auto created = client().Create(request);
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->name(), "assignments/vm");
  EXPECT_EQ(created->display_name(), "My VM");
  EXPECT_EQ(created->owner(), "loopback");
  EXPECT_EQ(created->intent(), Assignment::PLACED);
  EXPECT_EQ(created->generation(), 1);
  EXPECT_EQ(created->placement().host(), "hosts/h1");
  EXPECT_EQ(created->placement().attach_endpoint(), "/run/berth/vmm.sock");
  ASSERT_EQ(created->placement().units_size(), 1);
  EXPECT_EQ(created->placement().units(0).vcmdqs(), 2);
  EXPECT_EQ(created->placement().units(0).devices_size(), 2);
  EXPECT_EQ(created->attach_token().size(), 64);

  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  EXPECT_EQ(desired.assignment_uid(), created->uid());
  EXPECT_EQ(desired.generation(), 1);
  EXPECT_EQ(desired.attach_uid(), 1000);
  EXPECT_EQ(desired.isolation(), v1::AssignmentSpec::TRUSTED);
  EXPECT_EQ(desired.attach_mode(), v1::AssignmentSpec::BROKERED);
  EXPECT_EQ(desired.token_hash(), HashOf(created->attach_token()));

  const Assignment prepared = client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(prepared.etag(), created->etag());
  EXPECT_EQ(prepared.attach_token(), "") << "only create and rotate show it";
}

TEST_F(AssignmentTest, IsToldToNobodyBeforeItIsDurable) {
  StoreScript script;
  open_store = [&script] {
    return std::make_unique<ScriptedStore>(&script,
                                           *OpenMemoryStore(std::make_shared<MemoryMedium>()));
  };
  Restart();
  const auto agent = AddHost();
  const auto watch = client().Watch({});
  ASSERT_THAT(watch->Next(), IsOk());
  script.Set(StoreScript::Commits::kAreHeld);
  absl::StatusOr<Assignment> created = absl::UnknownError("no answer");
  std::thread caller([&] { created = client().Create(CreateOf("vm")); });
  script.AwaitHeld();
  EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
  absl::StatusOr<Assignment> refused = absl::UnknownError("no answer");
  std::thread late([&] { refused = client().Create(CreateOf("vm")); });
  agent->Heartbeat();  // whatever was to be sent before its answer has been sent
  EXPECT_FALSE(agent->HasHeardOf("assignments/vm"));
  EXPECT_FALSE(created.ok());
  script.Let(StoreScript::Commits::kPass);
  caller.join();
  late.join();
  ASSERT_THAT(created, IsOk());
  EXPECT_THAT(refused, FailsWith(Reason::kAlreadyExists));
  agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  const auto event = watch->Next();
  ASSERT_THAT(event, IsOk());
  ASSERT_GE(event->events_size(), 1);
  EXPECT_EQ(event->events(0).assignment().etag(), created->etag())
      << "its first state, and no other before";
}

TEST_F(AssignmentTest, IsReleasedAndGoneAndLeavesItsCapacityBehind) {
  const auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  const auto created = client().Create(CreateOf("vm", 2));
  ASSERT_THAT(created, IsOk());
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  agent->Report(StatusOf(desired, Assignment::ATTACHED));
  client().AwaitObserved("assignments/vm", Assignment::ATTACHED);

  const auto deleted = client().Delete("assignments/vm");
  ASSERT_THAT(deleted, IsOk());
  EXPECT_EQ(deleted->intent(), Assignment::RELEASING);
  EXPECT_NE(deleted->etag(), created->etag());
  const auto again = client().Delete("assignments/vm");
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->etag(), deleted->etag()) << "nothing more to do";

  const auto releasing = agent->AwaitDesired("assignments/vm", Assignment::RELEASING);
  agent->Report(StatusOf(releasing, Assignment::SCRUBBING));
  client().AwaitObserved("assignments/vm", Assignment::SCRUBBING);
  EXPECT_THAT(client().Create(CreateOf("other")), FailsWith(Reason::kNoCapacity)) << "charged";
  agent->Report(StatusOf(releasing, Assignment::GONE));
  client().AwaitGone("assignments/vm");
  EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Create(CreateOf("vm", 2)), IsOk()) << "name and devices are free again";
  agent->AwaitForgotten(created->uid());
}

TEST_F(AssignmentTest, DeleteSaysWhatIsNotThere) {
  EXPECT_THAT(client().Delete("assignments/vm"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Delete("vm"), FailsWith(Reason::kInvalidField));
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/vm");
  request.set_allow_missing(true);
  const auto answer = client().Call<Assignment>("AssignmentService/DeleteAssignment", request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->ByteSizeLong(), 0);
}

TEST_F(AssignmentTest, ValidateOnlyHasNoEffect) {
  const auto agent = AddHost();
  auto request = CreateOf("vm", 2);
  request.set_validate_only(true);
  request.set_request_id("once");
  for (int i = 0; i < 2; ++i) {
    const auto answer = client().Create(request);
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->placement().host(), "hosts/h1");
    EXPECT_EQ(answer->attach_token(), "");
    EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
  }
  request.set_validate_only(false);
  ASSERT_THAT(client().Create(request), IsOk()) << "the request_id is still free";
  v1::DeleteAssignmentRequest remove;
  remove.set_name("assignments/vm");
  remove.set_validate_only(true);
  ASSERT_THAT(client().Call<Assignment>("AssignmentService/DeleteAssignment", remove), IsOk());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
}

TEST_F(AssignmentTest, AnEtagGuardsAgainstChangesInBetween) {
  const auto agent = AddHost();
  const auto created = client().Create(CreateOf("vm"));
  ASSERT_THAT(created, IsOk());
  const auto rotated = Rotate("assignments/vm", created->etag());
  ASSERT_THAT(rotated, IsOk());
  EXPECT_THAT(Rotate("assignments/vm", created->etag()), FailsWith(Reason::kEtagMismatch));
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/vm");
  request.set_etag(created->etag());
  EXPECT_THAT(client().Call<Assignment>("AssignmentService/DeleteAssignment", request),
              FailsWith(Reason::kEtagMismatch));
  EXPECT_EQ(client().Get("assignments/vm")->etag(), rotated->etag());
  request.set_etag(rotated->etag());
  EXPECT_THAT(client().Call<Assignment>("AssignmentService/DeleteAssignment", request), IsOk());
}

TEST_F(AssignmentTest, ARotatedTokenReachesTheAgent) {
  const auto agent = AddHost();
  const auto created = client().Create(CreateOf("vm"));
  ASSERT_THAT(created, IsOk());
  const auto rotated = Rotate("assignments/vm");
  ASSERT_THAT(rotated, IsOk());
  EXPECT_EQ(rotated->token_version(), 2);
  EXPECT_NE(rotated->attach_token(), created->attach_token());
  const auto desired = agent->AwaitTokenHash("assignments/vm", HashOf(rotated->attach_token()));
  EXPECT_EQ(desired.generation(), 1) << "it stays where it is";
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  EXPECT_THAT(Rotate("assignments/vm"),
              testing::AnyOf(FailsWith(Reason::kStateConflict), FailsWith(Reason::kNotFound)));
}

TEST_F(AssignmentTest, WithoutCapacityTheErrorSaysWhatIsMissingWhere) {
  EXPECT_THAT(client().Create(CreateOf("vm")).status().message(), HasSubstr("there are no hosts"));
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("first", 2)), IsOk());
  const auto full = client().Create(CreateOf("second"));
  ASSERT_THAT(full, FailsWith(Reason::kNoCapacity));
  EXPECT_THAT(std::string(full.status().message()), HasSubstr("1 of 1 host"));
  EXPECT_EQ(MetadataOf(full.status())["hosts"], "1");
  const auto never = client().Create(CreateOf("third", 3));
  ASSERT_THAT(never, FailsWith(Reason::kUnsatisfiable));
  EXPECT_THAT(std::string(never.status().message()), HasSubstr("even if all were empty"));

  v1::ExplainPlacementRequest request;
  *request.mutable_spec() = CreateOf("x", 3).assignment().spec();
  const auto explained =
      client().Call<v1::ExplainPlacementResponse>("AssignmentService/ExplainPlacement", request);
  ASSERT_THAT(explained, IsOk());
  EXPECT_TRUE(explained->unsatisfiable());
  EXPECT_FALSE(explained->has_placement());
  EXPECT_EQ(explained->hosts_considered(), 1);
  EXPECT_EQ(explained->failures_size(), 1);
  EXPECT_EQ(FreeVintfs(), 3) << "failures hold nothing";
}

TEST_F(AssignmentTest, AnAtomicBatchIsAllOrNothing) {
  const auto agent = AddHost();
  v1::BatchCreateAssignmentsRequest request;
  *request.add_requests() = CreateOf("a");
  *request.add_requests() = CreateOf("b");
  *request.add_requests() = CreateOf("c");
  const auto none = Batch(request);
  ASSERT_THAT(none, FailsWith(Reason::kNoCapacity));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("requests[2]"));
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_THAT(client().Get(absl::StrCat("assignments/", name)), FailsWith(Reason::kNotFound));
  }
  request.mutable_requests(2)->set_assignment_id("a");
  EXPECT_THAT(Batch(request), testing::Not(IsOk())) << "a name twice";
  request.mutable_requests()->RemoveLast();
  const auto all = Batch(request);
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->results_size(), 2);
  EXPECT_EQ(all->results(0).assignment().etag(), all->results(1).assignment().etag());
  EXPECT_EQ(all->results(1).assignment().name(), "assignments/b");
  EXPECT_EQ(all->results(1).assignment().attach_token().size(), 64);
  agent->AwaitDesired("assignments/a", Assignment::PLACED);
  agent->AwaitDesired("assignments/b", Assignment::PLACED);
}

TEST_F(AssignmentTest, AnIndependentBatchGivesEachItsOwnAnswer) {
  const auto agent = AddHost();
  v1::BatchCreateAssignmentsRequest request;
  request.set_mode(v1::BatchCreateAssignmentsRequest::INDEPENDENT);
  *request.add_requests() = CreateOf("a");
  *request.add_requests() = CreateOf("B-is-no-name");
  *request.add_requests() = CreateOf("c");
  *request.add_requests() = CreateOf("d");
  const auto answer = Batch(request);
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->results_size(), 4);
  EXPECT_EQ(answer->results(0).assignment().name(), "assignments/a");
  EXPECT_EQ(answer->results(1).failure().reason(), "INVALID_FIELD");
  EXPECT_EQ(answer->results(2).assignment().name(), "assignments/c");
  EXPECT_EQ(answer->results(3).failure().reason(), "NO_CAPACITY");
  EXPECT_THAT(client().Get("assignments/c"), IsOk());
}

TEST_F(AssignmentTest, BatchesHaveASizeAndAMode) {
  v1::BatchCreateAssignmentsRequest request;
  EXPECT_THAT(Batch(request), FailsWith(Reason::kInvalidField));
  for (int i = 0; i < 65; ++i) *request.add_requests() = CreateOf(absl::StrCat("a", i));
  EXPECT_THAT(Batch(request), FailsWith(Reason::kInvalidField));
  request.set_mode(static_cast<v1::BatchCreateAssignmentsRequest::Mode>(7));
  EXPECT_THAT(Batch(request), FailsWith(Reason::kInvalidField));
}

TEST_F(AssignmentTest, ListsByPagesAndLabelsAndAWatchFromItMissesNothing) {
  const auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 8, .vintfs = 8})});
  for (int i = 0; i < 5; ++i) {
    auto request = CreateOf(absl::StrCat("vm", i));
    (*request.mutable_assignment()->mutable_labels())["parity"] = i % 2 == 0 ? "even" : "odd";
    ASSERT_THAT(client().Create(request), IsOk());
    client().AwaitObserved(absl::StrCat("assignments/vm", i), Assignment::PREPARED);
  }
  const auto list = [&](const v1::ListAssignmentsRequest& request) {
    return client().Call<v1::ListAssignmentsResponse>("AssignmentService/ListAssignments", request);
  };
  v1::ListAssignmentsRequest request;
  request.set_page_size(2);
  (*request.mutable_label_selector())["parity"] = "even";
  const auto first = list(request);
  ASSERT_THAT(first, IsOk());
  ASSERT_EQ(first->assignments_size(), 2);
  EXPECT_EQ(first->assignments(1).name(), "assignments/vm2");
  ASSERT_THAT(client().Create(CreateOf("later")), IsOk());
  request.set_page_token(first->next_page_token());
  const auto second = list(request);
  ASSERT_THAT(second, IsOk());
  ASSERT_EQ(second->assignments_size(), 1);
  EXPECT_EQ(second->assignments(0).name(), "assignments/vm4");
  EXPECT_EQ(second->next_page_token(), "");
  EXPECT_EQ(second->watch_token(), first->watch_token()) << "of the first page";

  v1::WatchAssignmentsRequest from;
  from.set_watch_token(second->watch_token());
  const auto event = client().Watch(from)->Next();
  ASSERT_THAT(event, IsOk());
  ASSERT_EQ(event->events_size(), 1);
  EXPECT_EQ(event->events(0).assignment().name(), "assignments/later");

  request.clear_label_selector();
  EXPECT_THAT(list(request), FailsWith(Reason::kInvalidPageToken)) << "of another list";
  request.clear_page_token();
  request.set_host("hosts/h2");
  EXPECT_EQ(list(request)->assignments_size(), 0);
  request.set_host("h1");
  EXPECT_THAT(list(request), FailsWith(Reason::kInvalidField));
}

TEST_F(AssignmentTest, APageOfLargeAssignmentsStillFitsAMessage) {
  const auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 1})});
  constexpr int kCount = 80;  // 5 MB in all
  for (int i = 0; i < kCount; ++i) {
    auto request = CreateOf(absl::StrCat("vm", i));
    request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
    (*request.mutable_assignment()->mutable_annotations())["note"] = std::string(65'000, 'x');
    ASSERT_THAT(client().Create(request), IsOk());
  }
  v1::ListAssignmentsRequest request;
  request.set_page_size(1000);
  int seen = 0;
  do {
    const auto page =
        client().Call<v1::ListAssignmentsResponse>("AssignmentService/ListAssignments", request);
    ASSERT_THAT(page, IsOk());
    seen += page->assignments_size();
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, kCount);

  const auto watch = client().Watch({});
  for (int shown = 0; shown < kCount;) {
    const auto message = watch->Next();
    ASSERT_THAT(message, IsOk()) << "after " << shown;
    shown += message->events_size();
  }
}

}  // namespace
}  // namespace berth::controller_test
