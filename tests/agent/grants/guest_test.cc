// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/guest.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "agent/grants/grant_plan.h"
#include "agent/grants/prepared_context.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/agent/grants/emulated_host.h"
#include "tests/agent/grants/failing_kernel.h"
#include "tests/agent/grants/memfd.h"

namespace berth::testing {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kRam = 0x40000000;  // where the guest's memory lies
constexpr uint64_t kQueueBytes = 4096;

// An STE that translates with the context descriptor table at `table`.
std::array<uint64_t, 2> Translating(uint64_t table) {
  return {uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate) | table, 0};
}

class GuestTest : public ::testing::Test {
 protected:
  GuestTest() : kernel_(&host_.kernel()) {
    agent::v1::DesiredGrant wanted = Desired("a", {"gpu0", "gpu1"});
    AddUnit("smmu1", 0, {"nic0"}, &wanted);
    const absl::StatusOr<GrantPlan> plan = MakePlan(wanted, host_.lookup());
    EXPECT_TRUE(plan.ok()) << plan.status();
    absl::StatusOr<BoundContext> bound = BoundContext::Bind(
        &kernel_, plan->devices, [](const absl::Status& leak) { ADD_FAILURE() << leak; });
    EXPECT_TRUE(bound.ok()) << bound.status();
    auto context = PreparedContext::Create(*std::move(bound), *plan, 16);
    EXPECT_TRUE(context.ok()) << context.status();
    context_ = *std::move(context);
    guest_ = std::make_unique<Guest>(context_.get(),
                                     GuestMemory::Limits{.bytes = 16 * kMiB, .regions = 3});
    ram_ = Memfd(4 * kMiB);
  }
  ~GuestTest() override {
    guest_.reset();
    EXPECT_TRUE(context_->Destroy().ok());
    context_.reset();
    EXPECT_EQ(host_.Leftovers(), "");
  }

  Reason Map(const UniqueFd& fd, uint64_t iova, uint64_t length, uint64_t start = 0) {
    return ReasonOf(
        guest_->MapMemory({.fd = fd.get(), .start = start, .length = length, .iova = iova}));
  }
  void MapRam() { ASSERT_EQ(Map(ram_, kRam, 4 * kMiB), Reason::kUnspecified); }
  Reason Set(size_t device, uint32_t vsid, Guest::StreamMode mode,
             std::array<uint64_t, 2> ste = {}) {
    return ReasonOf(guest_->SetStream({.device = device, .vsid = vsid, .mode = mode, .ste = ste}));
  }
  Reason Alloc(uint32_t unit, uint32_t index, uint64_t iova, uint64_t length = kQueueBytes) {
    return ReasonOf(guest_->AllocQueue(unit, index, iova, length));
  }
  std::map<std::string, int> Objects() { return host_.Snapshot().objects; }

  EmulatedHost host_;
  FailingKernel kernel_;
  std::unique_ptr<PreparedContext> context_;
  std::unique_ptr<Guest> guest_;
  UniqueFd ram_;
};

// ---- Memory

TEST_F(GuestTest, MapsAndUnmapsRegions) {
  EXPECT_EQ(Map(ram_, kRam, 2 * kMiB), Reason::kUnspecified);
  EXPECT_EQ(Map(ram_, kRam + 2 * kMiB, 2 * kMiB, 2 * kMiB), Reason::kUnspecified);
  EXPECT_EQ(guest_->memory().bytes(), 4 * kMiB);
  EXPECT_TRUE(guest_->UnmapMemory(kRam, 2 * kMiB).ok());
  EXPECT_EQ(guest_->memory().bytes(), 2 * kMiB);
  EXPECT_EQ(Map(ram_, kRam, 2 * kMiB), Reason::kUnspecified);
}

TEST_F(GuestTest, RefusesMemoryThatCouldGoAway) {
  UniqueFd pipe[2];
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pipe[0].Reset(ends[0]);
  pipe[1].Reset(ends[1]);
  EXPECT_EQ(Map(pipe[0], kRam, kMiB), Reason::kMemoryNotMemfd);
  EXPECT_EQ(Map(Memfd(kMiB, 0), kRam, kMiB), Reason::kMemoryNotSealed);
  EXPECT_EQ(Map(Memfd(kMiB, F_SEAL_GROW), kRam, kMiB), Reason::kMemoryNotSealed);
  // The context's own fd would make the context immortal.
  UniqueFd context(::dup(context_->devices()[0].context().fd()));
  EXPECT_EQ(Map(context, kRam, kMiB), Reason::kMemoryNotMemfd);
  EXPECT_TRUE(guest_->memory().regions().empty());
}

TEST_F(GuestTest, RefusesRangesThatDoNotFit) {
  EXPECT_EQ(Map(ram_, kRam, 0), Reason::kInvalidField);
  EXPECT_EQ(Map(ram_, kRam + 1, kMiB), Reason::kAlignment);
  EXPECT_EQ(Map(ram_, kRam, kMiB - 1), Reason::kAlignment);
  EXPECT_EQ(Map(ram_, kRam, kMiB, 1), Reason::kAlignment);
  EXPECT_EQ(Map(ram_, kRam, 5 * kMiB), Reason::kMemoryTooShort);
  EXPECT_EQ(Map(ram_, kRam, kMiB, 4 * kMiB), Reason::kMemoryTooShort);
  EXPECT_EQ(Map(ram_, kRam, kMiB, ~uint64_t{4095}), Reason::kMemoryTooShort);
  EXPECT_EQ(Map(ram_, uapi::kSwMsiBase, kMiB), Reason::kMemoryReserved);
  EXPECT_EQ(Map(ram_, uapi::kSwMsiBase - kMiB, 2 * kMiB), Reason::kMemoryReserved);
  EXPECT_EQ(Map(ram_, ~uint64_t{4095}, kMiB), Reason::kMemoryReserved);
  MapRam();
  EXPECT_EQ(Map(ram_, kRam, 4 * kMiB), Reason::kMemoryOverlap);
  EXPECT_EQ(Map(ram_, kRam - kMiB, 2 * kMiB), Reason::kMemoryOverlap);
  EXPECT_EQ(Map(ram_, kRam + 3 * kMiB, 2 * kMiB), Reason::kMemoryOverlap);
  EXPECT_EQ(Map(ram_, kRam + kMiB, kMiB), Reason::kMemoryOverlap);
  EXPECT_EQ(guest_->memory().bytes(), 4 * kMiB);
}

TEST_F(GuestTest, BoundsMemoryAndRegions) {
  const UniqueFd large = Memfd(32 * kMiB);
  EXPECT_EQ(Map(large, kRam, 16 * kMiB + 4096), Reason::kMemoryLimit);
  EXPECT_EQ(Map(large, kRam, 14 * kMiB), Reason::kUnspecified);
  EXPECT_EQ(Map(large, 2 * kRam, 3 * kMiB), Reason::kMemoryLimit);
  EXPECT_EQ(Map(large, 2 * kRam, kMiB), Reason::kUnspecified);
  EXPECT_EQ(Map(large, 3 * kRam, 4096), Reason::kUnspecified);
  EXPECT_EQ(Map(large, 4 * kRam, 4096), Reason::kMemoryLimit);  // the fourth region
}

TEST_F(GuestTest, MapsLargeMemoryInSlicesOrNotAtAll) {
  constexpr uint64_t kLarge = 2 * GuestMemory::kSlice + kMiB;
  Guest large(context_.get(), {.bytes = 4 * GuestMemory::kSlice, .regions = 1});
  const UniqueFd memory = Memfd(kLarge);
  kernel_.FailCall(2, ENOMEM);  // the third of three slices
  EXPECT_EQ(ReasonOf(large.MapMemory({.fd = memory.get(), .length = kLarge, .iova = kRam})),
            Reason::kOutOfMemory);
  EXPECT_EQ(large.memory().bytes(), 0U);
  // Nothing of the first attempt is in the way of the second.
  EXPECT_TRUE(large.MapMemory({.fd = memory.get(), .length = kLarge, .iova = kRam}).ok());
  EXPECT_TRUE(large.UnmapMemory(kRam, kLarge).ok());
  EXPECT_EQ(Map(ram_, kRam + GuestMemory::kSlice, 4 * kMiB), Reason::kUnspecified);
}

TEST_F(GuestTest, UnmapsExactlyWhatWasMapped) {
  MapRam();
  EXPECT_EQ(ReasonOf(guest_->UnmapMemory(kRam, kMiB)), Reason::kMemoryUnknown);
  EXPECT_EQ(ReasonOf(guest_->UnmapMemory(kRam + kMiB, 3 * kMiB)), Reason::kMemoryUnknown);
  EXPECT_EQ(ReasonOf(guest_->UnmapMemory(0, UINT64_MAX)), Reason::kMemoryUnknown);
  ASSERT_EQ(Alloc(0, 0, kRam + kMiB), Reason::kUnspecified);
  EXPECT_EQ(ReasonOf(guest_->UnmapMemory(kRam, 4 * kMiB)), Reason::kMemoryInUse);
  EXPECT_TRUE(guest_->FreeQueue(0, 0).ok());
  EXPECT_TRUE(guest_->UnmapMemory(kRam, 4 * kMiB).ok());
}

// ---- Queues

TEST_F(GuestTest, AllocatesQueuesUpwardAndFreesThemDownward) {
  MapRam();
  EXPECT_EQ(Alloc(0, 1, kRam), Reason::kQueueOrder);
  EXPECT_EQ(Alloc(0, 0, kRam), Reason::kUnspecified);
  EXPECT_EQ(Alloc(0, 0, kRam), Reason::kQueueExists);
  EXPECT_EQ(Alloc(0, 1, kRam + kQueueBytes), Reason::kUnspecified);
  EXPECT_EQ(Alloc(0, 2, kRam), Reason::kQueueIndex);
  EXPECT_EQ(guest_->queue_count(), 2U);
  EXPECT_EQ(ReasonOf(guest_->FreeQueue(0, 0)), Reason::kQueueOrder);
  EXPECT_EQ(ReasonOf(guest_->FreeQueue(0, 2)), Reason::kQueueUnknown);
  EXPECT_TRUE(guest_->FreeQueue(0, 1).ok());
  EXPECT_TRUE(guest_->FreeQueue(0, 0).ok());
  EXPECT_EQ(ReasonOf(guest_->FreeQueue(0, 0)), Reason::kQueueUnknown);
}

TEST_F(GuestTest, SaysWhatIsWrongWithAQueue) {
  MapRam();
  EXPECT_EQ(Alloc(2, 0, kRam), Reason::kUnitUnknown);
  EXPECT_EQ(Alloc(1, 0, kRam), Reason::kQueueIndex);  // a unit without queues
  EXPECT_EQ(Alloc(0, 0, kRam, 0), Reason::kQueueSize);
  EXPECT_EQ(Alloc(0, 0, kRam, 16), Reason::kQueueSize);
  EXPECT_EQ(Alloc(0, 0, kRam, 3 * 4096), Reason::kQueueSize);
  EXPECT_EQ(Alloc(0, 0, kRam + 2048, 4096), Reason::kQueueSize);
  EXPECT_EQ(Alloc(0, 0, kRam, uint64_t{1} << 40), Reason::kQueueSize);
  EXPECT_EQ(Alloc(0, 0, kRam + 4 * kMiB), Reason::kMemoryUnknown);
  EXPECT_EQ(Alloc(0, 0, 0), Reason::kMemoryUnknown);
  EXPECT_EQ(Alloc(0, 0, ~uint64_t{4095}), Reason::kMemoryUnknown);
  EXPECT_EQ(Alloc(0, 0, kRam, 2 * 4096), Reason::kQueueNotContiguous);  // two small pages
  EXPECT_EQ(guest_->queue_count(), 0U);
}

// ---- Streams

TEST_F(GuestTest, GivesADeviceItsStream) {
  EXPECT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  EXPECT_EQ(Set(1, 8, Guest::StreamMode::kBypass), Reason::kUnspecified);
  EXPECT_EQ(Set(2, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  const auto before = Objects();
  // A new STE takes the place of the old one.
  EXPECT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(2 * kRam)), Reason::kUnspecified);
  EXPECT_EQ(Objects(), before);
  EXPECT_EQ(Set(0, 7, Guest::StreamMode::kAbort), Reason::kUnspecified);
  EXPECT_FALSE(guest_->streams()[0].nested.has_value());
  EXPECT_TRUE(guest_->streams()[0].vdevice.has_value());
}

TEST_F(GuestTest, MovesADeviceToAnotherVsid) {
  ASSERT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  const auto before = Objects();
  EXPECT_EQ(Set(0, 9, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  EXPECT_EQ(guest_->streams()[0].vsid, 9U);
  EXPECT_EQ(Objects(), before);
  EXPECT_EQ(Set(1, 7, Guest::StreamMode::kBypass), Reason::kUnspecified);  // 7 is free again
}

TEST_F(GuestTest, RefusesBadStreamsAndKeepsTheOldOne) {
  ASSERT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  ASSERT_EQ(Set(1, 8, Guest::StreamMode::kBypass), Reason::kUnspecified);
  const auto before = Objects();
  EXPECT_EQ(Set(3, 7, Guest::StreamMode::kAbort), Reason::kDeviceUnknown);
  EXPECT_EQ(Set(0, 1 << 20, Guest::StreamMode::kBypass), Reason::kVsidRange);
  EXPECT_EQ(Set(0, 8, Guest::StreamMode::kBypass), Reason::kVsidInUse);
  EXPECT_EQ(Set(0, 9, Guest::StreamMode::kTranslate, {~uint64_t{0}, 0}),
            Reason::kBadStreamTableEntry);
  EXPECT_EQ(guest_->streams()[0].vsid, 7U);
  EXPECT_EQ(guest_->streams()[0].mode, Guest::StreamMode::kTranslate);
  EXPECT_EQ(Objects(), before);
}

TEST_F(GuestTest, KeepsTheOldStreamWhicheverCallFails) {
  ASSERT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  const auto before = Objects();
  // HWPT_ALLOC; ATTACH to abort, DESTROY, VDEVICE_ALLOC; ATTACH.
  constexpr int kSteps = 5;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    kernel_.FailCall(step, ENOMEM);
    const Reason reason = Set(0, 9, Guest::StreamMode::kTranslate, Translating(2 * kRam));
    ASSERT_TRUE(kernel_.failed());
    EXPECT_EQ(reason, step == 2 ? Reason::kStateConflict : Reason::kOutOfMemory);
    EXPECT_EQ(guest_->streams()[0].vsid, 7U);
    EXPECT_EQ(guest_->streams()[0].mode, Guest::StreamMode::kTranslate);
    EXPECT_EQ(Objects(), before);
    // And it works: an invalidation by its vSID finds it.
    const uapi::IommuViommuArmSmmuv3Invalidate command = {
        {uapi::kCmd0Opcode.Put(uapi::kCmdCfgiCdAll) | uapi::kCfgi0Sid.Put(7), 0}};
    EXPECT_EQ(guest_->Invalidate(0, {&command, 1}).handled, 1U);
  }
  EXPECT_EQ(Set(0, 9, Guest::StreamMode::kTranslate, Translating(2 * kRam)), Reason::kUnspecified);
}

// ---- Invalidations and resets

TEST_F(GuestTest, CountsTheInvalidationsBeforeABadOne) {
  const uapi::IommuViommuArmSmmuv3Invalidate good = {{uapi::kCmd0Opcode.Put(uapi::kCmdTlbiNhAll)}};
  const uapi::IommuViommuArmSmmuv3Invalidate bad = {{uapi::kCmd0Opcode.Put(uapi::kCmdCfgiAll)}};
  const std::array commands = {good, good, bad, good};
  const Viommu::Invalidated done = guest_->Invalidate(0, commands);
  EXPECT_EQ(done.handled, 2U);
  EXPECT_EQ(ReasonOf(done.status), Reason::kBadCommand);
  EXPECT_EQ(ReasonOf(guest_->Invalidate(9, commands).status), Reason::kUnitUnknown);
}

TEST_F(GuestTest, ResetLeavesMemoryAlone) {
  const auto fresh = Objects();
  MapRam();
  ASSERT_EQ(Set(0, 7, Guest::StreamMode::kTranslate, Translating(kRam)), Reason::kUnspecified);
  ASSERT_EQ(Set(2, 7, Guest::StreamMode::kBypass), Reason::kUnspecified);
  ASSERT_EQ(Alloc(0, 0, kRam), Reason::kUnspecified);
  ASSERT_EQ(Alloc(0, 1, kRam + kQueueBytes), Reason::kUnspecified);
  EXPECT_TRUE(guest_->Reset().ok());
  EXPECT_EQ(Objects(), fresh);
  EXPECT_EQ(guest_->memory().bytes(), 4 * kMiB);
  // The next boot of the guest finds everything free.
  EXPECT_EQ(Set(1, 7, Guest::StreamMode::kBypass), Reason::kUnspecified);
  EXPECT_EQ(Alloc(0, 0, kRam), Reason::kUnspecified);
}

}  // namespace
}  // namespace berth::testing
