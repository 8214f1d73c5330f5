// SPDX-License-Identifier: Apache-2.0
//
// Guests in several threads and in several processes at once: each drives its vCMDQ and its DMA
// device while other threads make and destroy objects of the same context by ioctls. Built with
// ThreadSanitizer the program under test ends with an error when it has seen a race.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/emulator/dma_fixture.h"

namespace berth::emulator {
namespace {

constexpr int kRounds = 60;
constexpr char kHost[] = R"(
hardware_threads: 3
units: [{id: smmu3.0, vintfs: 8}, {id: smmu3.1, vintfs: 8}]
devices:
- {count: 4, first_address: "0000:01:00.0", vendor: "10de", device: "2342", class_code: "030200",
   unit: smmu3.0, model: DMA_TEST}
- {count: 4, first_address: "0000:02:00.0", vendor: "10de", device: "2342", class_code: "030200",
   unit: smmu3.1, model: DMA_TEST}
)";

class ConcurrencyTest : public DmaTest {
 protected:
  void SetUp() override {}
  void TearDown() override {
    if (emulator_ > 0) ::kill(emulator_, SIGKILL);
  }

  void StartThread() {
    StartServer([](Server::Options& options) {
      options.host.hardware_threads = 3;
      for (DeviceSpec& device : options.host.devices) device.model = DeviceModel::kDmaTest;
    });
  }
  void StartProcess() {
    const std::string folder = std::filesystem::path(socket_path()).parent_path();
    const std::string file = folder + "/host.yaml";
    std::ofstream(file) << kHost;
    const std::vector<std::string> args = {std::getenv("BERTH_EMULATOR"), "--runtime-dir", folder,
                                           "--host", file};
    std::vector<char*> argv;
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&emulator_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
    while (!client().OpenContext().ok()) {
      ASSERT_EQ(::waitpid(emulator_, nullptr, WNOHANG), 0) << "the emulator ended";
      ::sched_yield();
    }
  }
  // Its exit status.
  int EndProcess() {
    int status = 0;
    EXPECT_EQ(::kill(emulator_, SIGTERM), 0);
    EXPECT_EQ(::waitpid(emulator_, &status, 0), emulator_);
    emulator_ = -1;
    return status;
  }

  // The guest: changes its tables, says so in its queue, and has the device look.
  static void Drive(ConcurrencyTest* test, DmaVm* vm) {
    const uint64_t pages[] = {vm->memory->AllocatePage(100), vm->memory->AllocatePage(101)};
    for (int round = 0; round < kRounds; ++round) {
      vm->tables->Map(kVa, pages[round % 2]);
      Execute(*vm, {testing::kTlbiVa, {uint64_t{DmaVm::kAsid} << 48 | 0x11, 0}});
      ASSERT_EQ(test->DeviceReads(*vm, kVa), uint64_t(100 + round % 2)) << round;
    }
  }
  // Its VMM: a queue, a stream table entry, an event queue, a mapping, and an invalidation of its
  // own come and go.
  static void Churn(ConcurrencyTest* test, const DmaVm& vm, uint64_t ring) {
    const UniqueFd& context = vm.guest.context;
    for (int round = 0; round < kRounds; ++round) {
      uapi::IommuHwQueueAlloc queue = {};
      queue.viommu_id = vm.guest.viommu;
      queue.type = uapi::kHwQueueTypeTegra241Cmdqv;
      queue.index = 1;
      queue.nesting_parent_iova = ring;
      queue.length = 4096;
      ASSERT_EQ(test->Call(context, uapi::kIommuHwQueueAlloc, &queue), 0);
      uapi::IommuIoasMapFile map = {};
      map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
      map.ioas_id = vm.guest.ioas;
      map.fd = vm.memory->memory()->file.get();
      map.length = 1 << 16;
      map.iova = uint64_t{1} << 40;
      ASSERT_EQ(test->Call(context, uapi::kIommuIoasMapFile, &map), 0);
      const uint32_t nested = test->AllocNested(vm, uapi::kSteBypass[0], 0);
      UniqueFd events;
      const uint32_t veventq =
          test->AllocVeventq(vm.guest, uapi::kVeventqTypeTegra241Cmdqv, 4, &events);
      events.Reset();
      ASSERT_EQ(test->ExecuteTrapped(vm, {0x30, 0}), 0);
      uapi::IommuIoasUnmap unmap = {};
      unmap.ioas_id = vm.guest.ioas;
      unmap.iova = map.iova;
      unmap.length = map.length;
      ASSERT_EQ(test->Call(context, uapi::kIommuIoasUnmap, &unmap), 0);
      for (const uint32_t id : {veventq, nested, queue.out_hw_queue_id}) {
        ASSERT_EQ(test->Destroy(context, id), 0);
      }
    }
  }
  // A guest and its VMM at once, on the device of that name.
  void RunVm(const std::string& name) {
    DmaVm vm = MakeNestedVm(name);
    if (HasFatalFailure()) return;
    const uint64_t ring = vm.memory->Allocate();
    std::thread guest(&ConcurrencyTest::Drive, this, &vm);
    Churn(this, vm, ring);
    guest.join();
  }
  void RunVms(const std::vector<std::string>& names) {
    std::vector<std::thread> vms;
    vms.reserve(names.size());
    for (const std::string& name : names) vms.emplace_back([this, name] { RunVm(name); });
    for (std::thread& vm : vms) vm.join();
  }

 private:
  pid_t emulator_ = -1;
};

TEST_F(ConcurrencyTest, GuestsInThreadsBesideTheHardware) {
  StartThread();
  RunVms({"vfio0", "vfio1", "vfio10"});
}

TEST_F(ConcurrencyTest, GuestsInThreadsOfSeveralProcesses) {
  StartProcess();
  const std::vector<std::vector<std::string>> guests = {{"vfio0", "vfio4"}, {"vfio1", "vfio5"}};
  std::vector<pid_t> children;
  for (const std::vector<std::string>& names : guests) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RunVms(names);
      ::_exit(HasFailure() ? 1 : 0);
    }
    children.push_back(child);
  }
  RunVms({"vfio2", "vfio6"});
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(EndProcess(), 0);
}

}  // namespace
}  // namespace berth::emulator
