// SPDX-License-Identifier: Apache-2.0
//
// `berthctl debug` against the services of an emulated host.
#include "lib/emulator/control_service.h"
#include "lib/emulator/faults/fault_service.h"
#include "lib/emulator/server.h"
#include "lib/rpc/server.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;

class DebugTest : public CliTest {
 protected:
  DebugTest() {
    emulator::UnitSpec unit;
    unit.id = "smmu3.0";
    unit.vintfs = 4;
    unit.vcmdqs = 8;
    host_.units.push_back(unit);
    emulator::Server::Options options;
    options.socket_path = Path("emulator.sock");
    options.host = host_;
    auto server = emulator::Server::Start(std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    emulator_ = *std::move(server);
    // No sysfs tree follows the plan here.
    faults_ = std::make_unique<emulator::FaultService>(&host_, &emulator_->kernel().faults(),
                                                       [] { return absl::OkStatus(); });
    control_ = std::make_unique<emulator::ControlService>(&emulator_->kernel());
    RpcServerOptions rpc_options;
    rpc_options.address = "unix:" + Path("control.sock");
    auto rpc = RpcServer::Start(rpc_options, {faults_.get(), control_.get()}, nullptr);
    EXPECT_TRUE(rpc.ok()) << rpc.status();
    rpc_ = *std::move(rpc);
  }

  CliResult Debug(std::vector<std::string> args) {
    args.insert(args.begin(), {"debug", "--emulator", Path("")});
    return RunPlain(args);
  }

  emulator::HostSpec host_;
  std::unique_ptr<emulator::Server> emulator_;
  std::unique_ptr<emulator::FaultService> faults_;
  std::unique_ptr<emulator::ControlService> control_;
  std::unique_ptr<RpcServer> rpc_;
};

TEST_F(DebugTest, AFaultIsArmedListedAndRemoved) {
  EXPECT_EQ(Debug({"faults", "list"}).err, "No faults found.\n");
  CliResult result = Debug({"faults", "add", "ioctl", "HW_QUEUE_ALLOC", "--error", "ENOSPC",
                            "--delay", "1500ms", "--skip", "2", "--count", "0"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "fault/1 armed: ioctl HW_QUEUE_ALLOC ENOSPC after 1.5s\n");
  EXPECT_EQ(emulator_->kernel().faults().List().at(0).spec.skip, 2U);
  EXPECT_EQ(Debug({"faults", "add", "lost-event"}).out, "fault/2 armed: lost-event any\n");
  result = Debug({"faults", "list"});
  EXPECT_THAT(result.out, HasSubstr("1   ioctl       2     -      0    0       HW_QUEUE_ALLOC"));
  EXPECT_THAT(Debug({"faults", "list", "-o", "json"}).out, HasSubstr("\"lost_event\""));
  EXPECT_EQ(Debug({"faults", "remove", "1"}).out, "fault/1 removed\n");
  EXPECT_EQ(Debug({"faults", "remove", "--all"}).out, "1 faults removed\n");
  EXPECT_TRUE(emulator_->kernel().faults().List().empty());
}

TEST_F(DebugTest, EveryKindHasACommand) {
  for (const char* kind : {"atc-timeout", "stuck-status", "lost-event", "non-contiguous"}) {
    const CliResult result = Debug({"faults", "add", kind, "smmu3.0"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(std::string(kind) + " smmu3.0\n"));
  }
  EXPECT_THAT(Debug({"faults", "add", "device-gone", "0000:01:00.0"}).err,
              HasSubstr("the host has no device \"0000:01:00.0\""));
}

TEST_F(DebugTest, WhatIsWrongIsNamed) {
  CliResult result = Debug({"faults", "add", "ioctl", "HW_QUEUE", "--error", "ENOSPC"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("no ioctl has the name \"HW_QUEUE\""));
  result = Debug({"faults", "add", "stuck-status", "smmu9"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("the host has no unit \"smmu9\""));
  EXPECT_EQ(Debug({"faults", "remove"}).exit_code, kExitUsage);
  EXPECT_EQ(Debug({"faults", "remove", "9"}).exit_code, kExitNotFound);
  result = RunPlain({"debug", "--emulator", Path("nowhere"), "stats"});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_THAT(result.err, HasSubstr("no emulator answers on " + Path("nowhere")));
}

TEST_F(DebugTest, ShowsWhatTheEmulatorHolds) {
  EXPECT_THAT(Debug({"stats"}).out, HasSubstr("id: smmu3.0"));
  EXPECT_THAT(Debug({"stats", "-o", "json"}).out, HasSubstr("\"vintfs\": 3"));
}

}  // namespace
}  // namespace berth::cli
