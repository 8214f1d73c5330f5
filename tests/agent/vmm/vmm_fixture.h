// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_VMM_VMM_FIXTURE_H_
#define BERTH_TESTS_AGENT_VMM_VMM_FIXTURE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "agent/vmm/vmm_server.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/agent/grants/memfd.h"
#include "tests/agent/vmm/raw_vmm.h"

namespace berth::testing {

// A VMM server over the grants of an emulated host.
class VmmFixture : public GrantsFixture {
 protected:
  static constexpr uint64_t kRam = 0x40000000;
  static constexpr uint64_t kRamSize = 1 << 20;
  static constexpr uint64_t kQueueBytes = 4096;

  VmmFixture() {
    folder_ = std::filesystem::temp_directory_path() / "berth-vmm-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
  }
  ~VmmFixture() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  [[nodiscard]] std::string path() const { return folder_ + "/vmm.sock"; }
  void StartServer() {
    if (server_ != nullptr) return;
    absl::StatusOr<UniqueFd> listener = wire::WireServer::Listen(path(), 0600);
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto server = VmmServer::Start(*std::move(listener), &manager(), {});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // Grant "a" with gpu0 and gpu1, prepared.
  void PrepareGrant() { PrepareGrant(Desired("a", {"gpu0", "gpu1"})); }
  void PrepareGrant(const agent::v1::DesiredGrant& wanted) {
    StartServer();
    ASSERT_TRUE(manager().Upsert(wanted).ok());
    Await(wanted.assignment_uid(), State::PREPARED);
  }
  void StopServer() { server_.reset(); }

 private:
  std::string folder_;
  std::unique_ptr<VmmServer> server_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_VMM_VMM_FIXTURE_H_
