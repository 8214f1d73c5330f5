// SPDX-License-Identifier: Apache-2.0
#include "lib/base/failpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <set>

#include "lib/base/status.h"

namespace berth {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Home = FailpointInfo::Home;

TEST(Failpoint, TheListNamesEachOnceAndSaysWhenItStrikes) {
  std::set<std::string_view> names;
  for (const FailpointInfo& info : Failpoints()) {
    SCOPED_TRACE(info.name);
    EXPECT_TRUE(names.insert(info.name).second);
    EXPECT_EQ(std::count(info.name.begin(), info.name.end(), '.'), 1);
    EXPECT_TRUE(std::all_of(info.name.begin(), info.name.end(), [](unsigned char c) {
      return std::islower(c) || std::isdigit(c) || c == '.' || c == '_';
    }));
    EXPECT_FALSE(info.text.empty());
    EXPECT_EQ(&info - Failpoints().data(), static_cast<int>(info.point));
  }
}

TEST(Failpoint, DoesNothingUnlessItIsArmed) {
  EXPECT_TRUE(HitFailpoint(Failpoint::kPrepareAllocViommu).ok());
  {
    const auto armed = ArmedFailpoints::Arm(Home::kAgent, {"prepare.alloc_ioas=error:ENOMEM"});
    ASSERT_TRUE(armed.ok()) << armed.status();
    EXPECT_TRUE(HitFailpoint(Failpoint::kPrepareAllocViommu).ok());
    EXPECT_FALSE(HitFailpoint(Failpoint::kPrepareAllocIoas).ok());
  }
  EXPECT_TRUE(HitFailpoint(Failpoint::kPrepareAllocIoas).ok());
  EXPECT_FALSE(failpoint_internal::any_armed);
}

TEST(Failpoint, AnErrorIsTypedAndNamesItsStep) {
  const auto armed = ArmedFailpoints::Arm(Home::kAgent, {"prepare.alloc_viommu=error:ENOSPC"});
  ASSERT_TRUE(armed.ok()) << armed.status();
  for (int hit = 0; hit < 2; ++hit) {
    const absl::Status status = HitFailpoint(Failpoint::kPrepareAllocViommu);
    EXPECT_EQ(ErrnoOf(status), ENOSPC);
    EXPECT_EQ(ReasonOf(status), Reason::kOutOfMemory);
    EXPECT_EQ(MetadataOf(status)["step"], "alloc_viommu");
    EXPECT_EQ(MetadataOf(status)["call"], "failpoint prepare.alloc_viommu");
  }
}

TEST(Failpoint, StrikesAtTheHitThatIsNamedAndNotAgain) {
  const auto armed = ArmedFailpoints::Arm(Home::kAgent, {"bind.bind_device=error:EIO@3"});
  ASSERT_TRUE(armed.ok()) << armed.status();
  for (int hit = 1; hit <= 5; ++hit) {
    EXPECT_EQ(HitFailpoint(Failpoint::kBindDevice).ok(), hit != 3) << hit;
  }
}

TEST(FailpointDeathTest, ACrashIsASigkill) {
  const auto crash = [](const std::string& setting) {
    const auto armed = ArmedFailpoints::Arm(Home::kAgent, {setting});
    if (!armed.ok()) return;
    CrashAt(Failpoint::kReleaseGone);
    CrashAt(Failpoint::kReleaseGone);
  };
  EXPECT_EXIT(crash("release.gone=crash"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(crash("release.gone=crash@2"), ::testing::KilledBySignal(SIGKILL), "");
  crash("release.gone=crash@3");
}

TEST(Failpoint, AProcessThatStopsGoesOnWhenItIsToldTo) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto armed = ArmedFailpoints::Arm(Home::kAgent, {"prepare.alloc_ioas=stop@2"});
    if (!armed.ok() || !HitFailpoint(Failpoint::kPrepareAllocIoas).ok()) ::_exit(1);
    ::_exit(HitFailpoint(Failpoint::kPrepareAllocIoas).ok() ? 42 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status)) << status;
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

TEST(Failpoint, AWrongSettingIsNamedWithWhatThereIs) {
  const auto why = [](const std::string& setting) {
    const auto armed = ArmedFailpoints::Arm(Home::kAgent, {"link.hello=crash", setting});
    EXPECT_EQ(ReasonOf(armed.status()), Reason::kInvalidField) << setting;
    EXPECT_FALSE(failpoint_internal::any_armed) << setting;
    return std::string(armed.status().message());
  };
  EXPECT_THAT(why("prepare.aloc_viommu=crash"),
              AllOf(HasSubstr("\"prepare.aloc_viommu=crash\""), HasSubstr("prepare.alloc_viommu"),
                    Not(HasSubstr("commit.write"))));
  EXPECT_THAT(why("commit.write=crash"), HasSubstr("none of this name")) << "the controller's";
  EXPECT_THAT(why("link.delta"), HasSubstr("NAME=crash"));
  EXPECT_THAT(why("link.delta=pause"), HasSubstr("crash, stop or error:ERRNO"));
  EXPECT_THAT(why("link.delta=error:ENOSPACE"), HasSubstr("no such errno"));
  EXPECT_THAT(why("link.delta=crash@0"), HasSubstr("from 1"));
  EXPECT_THAT(why("link.delta=crash@x"), HasSubstr("from 1"));
  EXPECT_THAT(why("link.hello=error:EIO"), HasSubstr("can only crash or stop"));
}

}  // namespace
}  // namespace berth
