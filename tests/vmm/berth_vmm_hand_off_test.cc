// SPDX-License-Identifier: Apache-2.0
//
// libberth-vmm in HAND_OFF mode.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/vmm/berth_vmm_fixture.h"

namespace berth {
namespace {

using Cdevs = std::array<int, BERTH_VMM_MAX_HAND_OFF_DEVICES>;

ino_t InodeOf(int fd) {
  struct stat info = {};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return info.st_ino;
}

class HandOffTest : public BerthVmmTest {
 protected:
  HandOffTest() {
    for (size_t i = 0; i < 1 + BERTH_VMM_MAX_HAND_OFF_DEVICES; ++i) {
      files_.emplace_back(::memfd_create("handed off", MFD_CLOEXEC));
    }
    fds_at_start_ = OpenFds();
  }
  // The context and `devices` cdevs.
  std::vector<int> Fds(size_t devices) {
    std::vector<int> fds;
    for (size_t i = 0; i <= devices; ++i) fds.push_back(files_[i].get());
    return fds;
  }
  int Attach() {
    count_ = cdevs_.size();
    return berth_vmm_attach_hand_off(vmm_, path_.c_str(), "uid", "token", &iommufd_, cdevs_.data(),
                                     &count_);
  }
  void CloseAll() {
    UniqueFd(iommufd_).Reset();
    for (uint32_t i = 0; i < count_; ++i) UniqueFd(cdevs_[i]).Reset();
  }

  std::vector<UniqueFd> files_;
  int iommufd_ = -1;
  Cdevs cdevs_ = {};
  uint32_t count_ = 0;
};

TEST_F(HandOffTest, TakesWhatItIsGivenAndConfirmsIt) {
  Play({[&](AgentConnection& agent) {
    const auto hello = agent.WelcomeHandOff(2).As<berth_vmm_hello>();
    EXPECT_EQ(hello.flags, static_cast<uint32_t>(BERTH_VMM_HELLO_HAND_OFF));
    agent.GiveHandOff(Fds(2));
    Received call = agent.Receive();
    EXPECT_EQ(call.header().type, BERTH_VMM_CONFIRM_HAND_OFF);
    EXPECT_TRUE(call.fds.empty());
    AnswerEmpty(agent, call);
    call = agent.Receive();
    EXPECT_EQ(call.header().type, BERTH_VMM_CONFIRM_HAND_OFF);
    EXPECT_EQ(call.fds.size(), 1u);
    AnswerEmpty(agent, call);
  }});
  ASSERT_EQ(Attach(), 0) << Message();
  ASSERT_EQ(count_, 2u);
  EXPECT_EQ(InodeOf(iommufd_), InodeOf(files_[0].get()));
  EXPECT_EQ(InodeOf(cdevs_[0]), InodeOf(files_[1].get()));
  EXPECT_EQ(InodeOf(cdevs_[1]), InodeOf(files_[2].get()));
  berth_vmm_hand_off_device device;
  ASSERT_EQ(berth_vmm_get_hand_off_device(vmm_, 1, &device, sizeof(device)), 0);
  EXPECT_STREQ(device.id, "gpu1");
  EXPECT_STREQ(device.address, "0000:01:00.0");
  EXPECT_EQ(berth_vmm_get_hand_off_device(vmm_, 2, &device, sizeof(device)),
            -BERTH_VMM_REASON_DEVICE_UNKNOWN);
  berth_vmm_info info;
  ASSERT_EQ(berth_vmm_get_info(vmm_, &info, sizeof(info)), 0);
  EXPECT_EQ(info.attach_mode, static_cast<uint32_t>(BERTH_VMM_ATTACH_MODE_HAND_OFF));
  EXPECT_EQ(berth_vmm_confirm_hand_off(vmm_), 0) << Message();
  EXPECT_EQ(berth_vmm_confirm_hand_off_to(vmm_, -1), -BERTH_VMM_REASON_INVALID_FIELD);
  EXPECT_EQ(berth_vmm_confirm_hand_off_to(vmm_, iommufd_), 0) << Message();
  CloseAll();
  ExpectOnlyTheSessionsFds();
}

TEST_F(HandOffTest, TakesAsManyDevicesAsThereCanBe) {
  Play({[&](AgentConnection& agent) {
    agent.WelcomeHandOff(BERTH_VMM_MAX_HAND_OFF_DEVICES);
    agent.GiveHandOff(Fds(BERTH_VMM_MAX_HAND_OFF_DEVICES));
  }});
  ASSERT_EQ(Attach(), 0) << Message();
  ASSERT_EQ(count_, BERTH_VMM_MAX_HAND_OFF_DEVICES);
  for (uint32_t i = 0; i < count_; ++i) EXPECT_EQ(InodeOf(cdevs_[i]), InodeOf(files_[i + 1].get()));
  CloseAll();
  ExpectOnlyTheSessionsFds();
}

TEST_F(HandOffTest, IsGivenTheSameAgainAfterALostAnswer) {
  Play({[&](AgentConnection& agent) {
          agent.WelcomeHandOff(1);
          EXPECT_EQ(agent.Receive().header().call_id, 1u);
        },
        [&](AgentConnection& agent) {
          const auto hello = agent.WelcomeHandOff(1, 1).As<berth_vmm_hello>();
          EXPECT_EQ(hello.header.session_id, AgentConnection::kSession);
          EXPECT_EQ(hello.flags, static_cast<uint32_t>(BERTH_VMM_HELLO_HAND_OFF));
          agent.GiveHandOff(Fds(1));
        }});
  ASSERT_EQ(Attach(), 0) << Message();
  CloseAll();
  ExpectOnlyTheSessionsFds();
}

TEST_F(HandOffTest, IsNotAttachedWhenItHasNoRoomOrGetsGarbage) {
  const auto with = [&](uint32_t devices, size_t given) {
    return [this, devices, given](AgentConnection& agent) {
      agent.WelcomeHandOff(devices);
      agent.GiveHandOff(Fds(given));
      EXPECT_TRUE(agent.Receive().bytes.empty());
    };
  };
  Play({[](AgentConnection& agent) {
          agent.WelcomeHandOff(2);
          EXPECT_TRUE(agent.Receive().bytes.empty());
        },
        with(2, 1), with(1, 2), [](AgentConnection& agent) { agent.Welcome(); },
        [](AgentConnection& agent) {
          agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_STATE_CONFLICT, 0, "BROKERED");
        }});
  count_ = 1;
  EXPECT_EQ(berth_vmm_attach_hand_off(vmm_, path_.c_str(), "uid", "token", &iommufd_, cdevs_.data(),
                                      &count_),
            -BERTH_VMM_REASON_TOO_LARGE);
  EXPECT_EQ(count_, 2u);
  EXPECT_EQ(Attach(), kBadMessage);
  EXPECT_EQ(Attach(), kBadMessage);
  EXPECT_EQ(Attach(), kBadMessage) << "BROKERED, without being asked for it";
  EXPECT_EQ(Attach(), -BERTH_VMM_REASON_STATE_CONFLICT);
  berth_vmm_hand_off_device device;
  EXPECT_EQ(berth_vmm_get_hand_off_device(vmm_, 0, &device, sizeof(device)),
            -BERTH_VMM_REASON_STATE_CONFLICT);
  EXPECT_EQ(berth_vmm_confirm_hand_off(vmm_), -BERTH_VMM_REASON_STATE_CONFLICT);
  agent_.reset();
  EXPECT_EQ(OpenFds(), fds_at_start_);
}

}  // namespace
}  // namespace berth
