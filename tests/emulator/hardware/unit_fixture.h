// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_UNIT_FIXTURE_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_UNIT_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/emulator/hardware/guest.h"

namespace berth::emulator::testing {

// A unit of the Grace's size with its driver, whose time passes only where a guest waits, and what
// it reported.
class UnitTest : public ::testing::Test {
 protected:
  explicit UnitTest(CmdqvConfig::Polling polling = CmdqvConfig::Polling::kManual)
      : polling_(polling) {
    CmdqvConfig config;
    config.polling = polling;
    Make(std::move(config));
  }
  // Another unit in place of this one.
  void Make(CmdqvConfig config) {
    cmdqv_.reset();
    errors_.clear();
    cmdqv_ = std::make_unique<Tegra241Cmdqv>(std::move(config), [this](const VintfError& error) {
      const std::lock_guard lock(mu_);
      errors_.push_back(error);
    });
  }

  // Gives the VINTF HYP_OWN, as one of the host's own kernel has it.
  void OwnByHypervisor(int vintf) {
    const RegisterView registers = cmdqv_->hardware().registers().At(config_page::Vintf(vintf));
    for (const uint32_t config : {0U, kVintfHypOwn | kEnable}) {
      registers.Store(vintf_config::kConfig, config);
      cmdqv_->hardware().Serve(vintf);
    }
  }
  // A guest with queue `lvcmdq` of `vintf`, mapped and not enabled.
  GuestQueue MapQueue(int vintf, int lvcmdq, const Mapping& page0, uint32_t log2size = 6) {
    Ring ring(log2size);
    EXPECT_EQ(cmdqv_->MapLvcmdq(vintf, lvcmdq, ring.memory(), log2size), 0);
    return Guest(page0, lvcmdq, ring);
  }
  GuestQueue Guest(const Mapping& page0, int lvcmdq, Ring ring) {
    return {page0.data(), lvcmdq, std::move(ring), [this] { PassTime(); }};
  }
  void PassTime() {
    if (polling_ == CmdqvConfig::Polling::kManual) {
      cmdqv_->hardware().Poll();
    } else {
      ::sched_yield();
    }
  }
  [[nodiscard]] std::vector<VintfError> errors() {
    const std::lock_guard lock(mu_);
    return errors_;
  }

  const CmdqvConfig::Polling polling_;
  std::mutex mu_;
  std::vector<VintfError> errors_;
  std::unique_ptr<Tegra241Cmdqv> cmdqv_;
};

class PolledUnitTest : public UnitTest {
 protected:
  PolledUnitTest() : UnitTest(CmdqvConfig::Polling::kThread) {}
};

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_UNIT_FIXTURE_H_
