// SPDX-License-Identifier: Apache-2.0
//
// Whatever a step of prepare is answered: everything before is undone, the error says which step,
// call and errno it was, and the next try works. The same for every failpoint of prepare, and of
// the way back.
#include <gmock/gmock.h>

#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/ops.h"
#include "tests/agent/grants/grants_fixture.h"

namespace berth::testing {
namespace {

// What Linux 7.3 can answer to each call of a prepare, as tests/conformance has it for each request
// (*ChecksInOrder, Unwritable*, the pools that run out), and ENOMEM, which any of them can.
const std::map<uapi::Request, std::vector<int>>& ErrnosOfPrepare() {
  static const std::map<uapi::Request, std::vector<int>> errnos = {
      // open(2) of /dev/iommu and of a cdev.
      {0, {EACCES, EPERM, ENODEV, ENOENT, EMFILE, ENFILE, ENOMEM}},
      // Linux drivers/vfio/device_cdev.c, vfio_df_ioctl_bind_iommufd(); EBUSY:
      // iommufd_device_bind() of a group that has another owner.
      {uapi::kVfioDeviceBindIommufd,
       {EINVAL, E2BIG, EFAULT, EBADF, EBADFD, EBUSY, ENODEV, ENOMEM, ENOTTY}},
      {uapi::kIommuIoasAlloc, {EINVAL, E2BIG, EOPNOTSUPP, EFAULT, ENOMEM, ENOTTY}},
      {uapi::kIommuGetHwInfo, {EINVAL, E2BIG, EOPNOTSUPP, ENOENT, EFAULT, ENOMEM, ENOTTY}},
      // EIO: a stream table entry that is refused; EADDRINUSE, EINVAL: pages that cannot be pinned.
      {uapi::kIommuHwptAlloc,
       {EINVAL, E2BIG, EOPNOTSUPP, ENOENT, EIO, EADDRINUSE, EFAULT, ENOMEM, ENOTTY}},
      {uapi::kIommuViommuAlloc,
       {EINVAL, E2BIG, EOPNOTSUPP, ENOENT, ENOSPC, ETIMEDOUT, EFAULT, ENOMEM, ENOTTY}},
      {uapi::kIommuVeventqAlloc,
       {EINVAL, E2BIG, EOPNOTSUPP, ENOENT, EEXIST, EMFILE, ENFILE, EFAULT, ENOMEM, ENOTTY}},
      {uapi::kVfioDeviceAttachIommufdPt, {EINVAL, ENOENT, EBUSY, EADDRINUSE, EFAULT, ENOMEM}},
      {uapi::kIommuIoasIovaRanges, {EINVAL, E2BIG, EOPNOTSUPP, ENOENT, EMSGSIZE, EFAULT, ENOTTY}},
  };
  return errnos;
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// The names of the failpoints that begin so.
std::vector<std::string> PointsOf(const std::vector<std::string_view>& prefixes) {
  std::vector<std::string> names;
  for (const FailpointInfo& info : Failpoints()) {
    for (const std::string_view prefix : prefixes) {
      if (StartsWith(info.name, prefix)) names.emplace_back(info.name);
    }
  }
  return names;
}

std::string StepOf(const std::string& point) { return point.substr(point.find('.') + 1); }

class ErrnoMatrix : public GrantsFixture {
 protected:
  ErrnoMatrix() {
    limits().busy_patience = absl::ZeroDuration();
    AddUnit("smmu1", 0, {"nic0"}, &wanted_);
    // The first life warms up: channels to the emulator stay open.
    Prepare();
    calls_ = failing_.TakeCalls();
    Release();
    fds_ = OpenFds();
  }

  // A new try, up to its end.
  agent::v1::GrantStatus Try() {
    wanted_.set_intent(State::PLACED);
    wanted_.set_generation(wanted_.generation() + 1);
    EXPECT_TRUE(manager().Upsert(wanted_).ok());
    return Await("a", [](const agent::v1::GrantStatus& status) {
      return status.observed() == State::PREPARED || status.observed() == State::GONE;
    });
  }
  void Prepare() { EXPECT_EQ(Try().observed(), State::PREPARED); }
  void Release() {
    wanted_.set_intent(State::RELEASING);
    EXPECT_TRUE(manager().Upsert(wanted_).ok());
    Await("a", State::GONE);
    ExpectNothingLeft();
  }

  // The failure of a try that has to fail, and to leave nothing.
  v1::Failure Fail() {
    const agent::v1::GrantStatus end = Try();
    EXPECT_EQ(end.observed(), State::GONE);
    ExpectNothingLeft();
    EXPECT_EQ(OpenFds(), fds_);
    return end.failure();
  }
  void ExpectTheNextTryWorks() {
    Prepare();
    Release();
    EXPECT_EQ(OpenFds(), fds_);
  }

  static std::string Of(const v1::Failure& failure, const std::string& key) {
    const auto it = failure.metadata().find(key);
    return it == failure.metadata().end() ? "" : it->second;
  }

  agent::v1::DesiredGrant wanted_ = Desired("a", {"gpu0", "gpu1"});
  std::vector<uapi::Request> calls_;  // of a prepare that succeeds
  size_t fds_ = 0;
};

TEST_F(ErrnoMatrix, EveryCallOfPrepareWithEveryErrnoIsUndoneAndNamed) {
  std::set<std::string> steps;
  std::set<uapi::Request> met;
  for (size_t i = 0; i < calls_.size(); ++i) {
    const uapi::Request request = calls_[i];
    const std::string call = request == 0 ? "open" : std::string(uapi::RequestName(request));
    const auto errnos = ErrnosOfPrepare().find(request);
    ASSERT_NE(errnos, ErrnosOfPrepare().end()) << call << ": what can be answered to it?";
    met.insert(request);
    for (const int error : errnos->second) {
      SCOPED_TRACE(call + " (call " + std::to_string(i) + ") " + ErrnoName(error));
      failing_.FailCall(static_cast<int>(i), error);
      const v1::Failure failure = Fail();
      ASSERT_TRUE(failing_.failed());
      EXPECT_FALSE(failure.reason().empty());
      EXPECT_EQ(Of(failure, "errno"), ErrnoName(error));
      if (request == 0) {
        EXPECT_TRUE(StartsWith(Of(failure, "call"), "open")) << Of(failure, "call");
      } else {
        EXPECT_EQ(Of(failure, "call"), call);
      }
      steps.insert(Of(failure, "step"));
      ExpectTheNextTryWorks();
      if (HasFailure()) return;
    }
  }
  EXPECT_EQ(met.size(), ErrnosOfPrepare().size()) << "a request that prepare does not make";

  // Each step that makes a call can be made to fail by name, and the names are the same.
  std::set<std::string> named = {"watch_events", "done"};  // these make none
  named.insert(steps.begin(), steps.end());
  std::set<std::string> points;
  for (const std::string& point : PointsOf({"bind.", "prepare."})) points.insert(StepOf(point));
  EXPECT_EQ(points, named);
}

TEST_F(ErrnoMatrix, EveryFailpointOfPrepareIsUndoneAndNamed) {
  for (const std::string& point : PointsOf({"bind.", "prepare."})) {
    SCOPED_TRACE(point);
    {
      const auto armed =
          ArmedFailpoints::Arm(FailpointInfo::Home::kAgent, {point + "=error:ENOMEM@1"});
      ASSERT_TRUE(armed.ok()) << armed.status();
      const v1::Failure failure = Fail();
      EXPECT_EQ(failure.reason(), "OUT_OF_MEMORY");
      EXPECT_EQ(Of(failure, "step"), StepOf(point));
      EXPECT_EQ(Of(failure, "errno"), "ENOMEM");
    }
    ExpectTheNextTryWorks();
  }
}

TEST_F(ErrnoMatrix, EveryFailpointOfTheTeardownIsSaidAndTriedAgain) {
  for (const std::string& point : PointsOf({"teardown."})) {
    SCOPED_TRACE(point);
    Prepare();
    const auto armed =
        ArmedFailpoints::Arm(FailpointInfo::Home::kAgent, {point + "=error:EBUSY@1"});
    ASSERT_TRUE(armed.ok()) << armed.status();
    wanted_.set_intent(State::RELEASING);
    ASSERT_TRUE(manager().Upsert(wanted_).ok());
    const agent::v1::GrantStatus pinned = AwaitCondition("a", "Pinned");
    EXPECT_EQ(pinned.observed(), State::SCRUBBING);
    EXPECT_THAT(pinned.conditions(0).message(), ::testing::HasSubstr("failpoint " + point));
    EXPECT_EQ(Await("a", State::GONE).units_size(), 0);
    ExpectNothingLeft();
    EXPECT_EQ(OpenFds(), fds_);
  }
}

}  // namespace
}  // namespace berth::testing
