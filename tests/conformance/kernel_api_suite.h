// SPDX-License-Identifier: Apache-2.0
//
// The behaviour that every KernelApi must have: what Linux 7.3 does. The cases are in *_cases.cc,
// written with raw structs, because the exact errno and the order of checks are the contract. A
// kernel is held to them by one INSTANTIATE_TEST_SUITE_P (emulator_conformance_test.cc).
#ifndef BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_
#define BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/kernel_call.h"
#include "lib/iommufd/uapi/iommufd_test.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/uapi/vfio.h"
#include "tests/conformance/machine.h"

namespace berth::conformance {

// A kernel on which nothing else runs. Whoever holds a kernel to the suites implements this and
// instantiates both (see README.md); the suites make one for every case, so that a case may find
// devices bound and capacity taken only by what it did itself.
class KernelUnderTest {
 public:
  virtual ~KernelUnderTest() = default;
  virtual KernelApi& kernel() = 0;
  [[nodiscard]] virtual const Machine& machine() const = 0;
  // Whether calls are made with CAP_IPC_LOCK from now on; at first they are. Only with
  // Machine::limits_memlock.
  virtual void SetIpcLock(bool /*has*/) {}
};

struct KernelParam {
  std::string name;
  std::function<std::unique_ptr<KernelUnderTest>()> make;
};
inline void PrintTo(const KernelParam& param, std::ostream* out) { *out << param.name; }
inline std::string ParamName(const ::testing::TestParamInfo<KernelParam>& info) {
  return info.param.name;
}

inline constexpr uint32_t kStaleId = 0x7fff0000;
// Where NewVm() maps its memory, and how much.
inline constexpr uint64_t kMemoryIova = 0x40000000;
inline constexpr uint64_t kMemorySize = 1 << 20;
// Of the suite's HW queues, bytes: no more than any page.
inline constexpr uint64_t kQueueLength = 4096;
// Nothing is mapped there, nor in the 256 MiB behind it.
inline constexpr uint64_t kHoleIova = 0x60000000;

// A struct of which the caller says that it is longer than the kernel's.
template <typename Struct>
struct Tailed {
  Struct arg;
  uint64_t tail;
};

// A struct that can be read and not written, so that the kernel's answer faults.
template <typename Struct>
class ReadOnly {
 public:
  explicit ReadOnly(const Struct& arg)
      : page_(::mmap(nullptr, sizeof(Struct), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0)) {
    if (page_ == MAP_FAILED) return;
    std::memcpy(page_, &arg, sizeof(arg));
    ::mprotect(page_, sizeof(arg), PROT_READ);
  }
  ~ReadOnly() { ::munmap(page_, sizeof(Struct)); }
  ReadOnly(const ReadOnly&) = delete;
  ReadOnly& operator=(const ReadOnly&) = delete;
  [[nodiscard]] void* get() const { return page_; }

 private:
  void* page_;
};

// What `call`, which returns 0 or a negative errno, is in a child of this process that then ends.
template <typename Call>
int InAChild(Call call) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(-call());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return -WEXITSTATUS(status);
}

// One thing wrong with a call, and the errno for it.
template <typename Struct>
struct Fault {
  const char* what;
  std::function<void(Struct&)> apply;
  int error;
};

// A device in a context. Mock devices (Driver::kSelftest) are made there by IOMMU_TEST_CMD, have no
// cdev and are attached from the beginning to the end: what the suite calls detached is attached to
// `rest`, an HWPT of an empty IOAS that nothing else uses.
struct Device {
  UniqueFd cdev;
  uint32_t id = 0;    // of the DEVICE
  uint32_t mock = 0;  // of what stands for the cdev
  uint32_t rest = 0;
};

// One device in a context of its own, memory, and an HWPT on it: a nesting parent where there is
// such a thing.
struct Vm {
  UniqueFd context;
  Device device;
  UniqueFd memory;
  uint32_t ioas = 0;
  uint32_t parent = 0;
};

// A Vm with all devices of one IOMMU group, each bound and attached to nothing: the first is the
// Vm's.
struct GroupVm {
  Vm vm;
  std::vector<Device> mates;
};

// What VIOMMU_ALLOC reads and writes at data_uptr.
union ViommuData {
  uapi::IommuViommuTegra241Cmdqv cmdqv;
  uapi::IommuViommuSelftest mock;
};

// What a VMM can map of a vIOMMU.
struct Window {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct NewEventQueue {
  uint32_t id = 0;
  UniqueFd fd;
};

class KernelApiSuite : public ::testing::TestWithParam<KernelParam> {
 protected:
  void SetUp() override {
    under_test_ = GetParam().make();
    ASSERT_NE(under_test_, nullptr);
    ASSERT_TRUE(!Has(Need::kCdevs) || machine().devices.size() >= 2);
    ASSERT_TRUE(!Has(Need::kCmdqv) || machine().vintfs >= 2);
  }

  KernelApi& kernel() { return under_test_->kernel(); }
  void SetIpcLock(bool has) { under_test_->SetIpcLock(has); }
  [[nodiscard]] const Machine& machine() const { return under_test_->machine(); }
  [[nodiscard]] bool Has(Need need) const { return conformance::Has(machine(), need); }
  // The first that the machine has not; see BERTH_NEEDS.
  [[nodiscard]] std::optional<Need> Missing(std::initializer_list<Need> needs) const;
  [[nodiscard]] uint64_t page() const { return machine().page_size; }
  [[nodiscard]] Types types() const { return TypesOf(machine().driver); }
  std::string device(size_t index) { return machine().devices.at(index); }

  // 0 or more, or a negative errno.
  template <typename Struct>
  int Call(const UniqueFd& fd, uapi::Request request, Struct& arg) {
    return kernel().Ioctl(fd.get(), request, &arg);
  }

  // The same with an answer that cannot be written.
  template <typename Struct>
  int CallReadOnly(const UniqueFd& fd, uapi::Request request, const Struct& arg) {
    return kernel().Ioctl(fd.get(), request, ReadOnly<Struct>(arg).get());
  }

  // Each fault alone, and together with all after it, gives its own errno: the first check wins.
  template <typename Struct>
  void ExpectPrecedence(const UniqueFd& fd, uapi::Request request, const Struct& valid,
                        const std::vector<Fault<Struct>>& faults) {
    for (size_t first = 0; first < faults.size(); ++first) {
      Struct alone = valid;
      faults[first].apply(alone);
      EXPECT_EQ(Call(fd, request, alone), -faults[first].error) << faults[first].what;
      Struct together = valid;
      for (size_t i = faults.size(); i-- > first;) faults[i].apply(together);
      EXPECT_EQ(Call(fd, request, together), -faults[first].error)
          << faults[first].what << " with all that is checked later";
    }
  }

  // ---- What must succeed for a case to make sense; a failure is reported, ids are then 0.
  UniqueFd NewContext();
  UniqueFd OpenCdev(const std::string& name);
  uint32_t Bind(const UniqueFd& cdev, const UniqueFd& context);
  uint32_t NewIoas(const UniqueFd& context);
  // The device of that number, or behind that cdev, bound to the context and attached to nothing.
  Device AddDevice(const UniqueFd& context, size_t number);
  Device AddDevice(const UniqueFd& context, const std::string& cdev);
  // With the device of that number.
  Vm NewVm(size_t number = 0);
  GroupVm NewGroupVm();
  uint32_t NewHwpt(const Vm& vm, uint32_t flags);
  // `data` is of the machine's kind.
  uint32_t NewViommu(const Vm& vm, ViommuData* data = nullptr);
  uint32_t NewPlainViommu(const Vm& vm);
  uint32_t NewVdevice(const Vm& vm, uint32_t viommu, uint64_t vsid);
  uint32_t NewHwQueue(const Vm& vm, uint32_t viommu, uint32_t index);
  NewEventQueue NewVeventq(const Vm& vm, uint32_t viommu, uint32_t type);
  uint32_t NewNested(const Vm& vm, uint32_t viommu, const uint64_t (&ste)[2]);
  // One to which a device with a vDEVICE can be attached; it aborts all DMA on an SMMUv3.
  uint32_t NewNested(const Vm& vm, uint32_t viommu);

  // ---- Calls whose result is the point: 0 or a negative errno.
  int Destroy(const UniqueFd& context, uint32_t id);
  int MapFile(const UniqueFd& context, uint32_t ioas, int fd, uint64_t length, uint64_t iova,
              uint64_t start = 0);
  int Unmap(const UniqueFd& context, uint32_t ioas, uint64_t iova, uint64_t length);
  // *attached is the HWPT, which differs from `pt_id` where that is an IOAS.
  int Attach(const UniqueFd& context, const Device& device, uint32_t pt_id,
             uint32_t* attached = nullptr);
  int Attach(const Vm& vm, uint32_t pt_id, uint32_t* attached = nullptr) {
    return Attach(vm.context, vm.device, pt_id, attached);
  }
  int Detach(const UniqueFd& context, const Device& device);
  int Detach(const Vm& vm) { return Detach(vm.context, vm.device); }
  // Closes the cdev, or destroys the mock.
  int Close(Vm& vm);

  // ---- Valid arguments, to be spoilt.
  uapi::IommuViommuAlloc ViommuArg(const Vm& vm, ViommuData* data);
  uapi::IommuHwQueueAlloc HwQueueArg(uint32_t viommu, uint32_t index);
  uapi::IommuHwptAlloc NestedArg(const Vm& vm, uint32_t viommu, const uint64_t (&ste)[2]);
  uapi::IommuHwptAlloc NestedArg(const Vm& vm, uint32_t viommu);
  uapi::IommuIoasMapFile MapFileArg(uint32_t ioas, int fd);

  // A vIOMMU, a vDEVICE, HW queues, an event queue (its fd) and an attached nested HWPT at once.
  NewEventQueue Occupy(const Vm& vm);

  uapi::IommuVdeviceAlloc VdeviceArg(const Vm& vm, uint32_t viommu, uint64_t vsid);
  uapi::IommuVeventqAlloc VeventqArg(uint32_t viommu, uint32_t type);
  uapi::IommuHwptAlloc PagingArg(const Vm& vm, uint32_t flags);

  // What IOVA_RANGES tells; at most 64 ranges.
  std::vector<uapi::IommuIovaRange> IovaRanges(const UniqueFd& context, uint32_t ioas);
  // Whether the MSI window of the SMMU is among them.
  bool MsiWindowIsOpen(const Vm& vm);

  // How many vIOMMUs of type TEGRA241_CMDQV the unit has room for now; uses device(1), unbound.
  int FreeVintfs();
  // HW queues per VINTF, and SID slots, as GET_HW_INFO says.
  uapi::IommuHwInfoTegra241Cmdqv CmdqvInfo(const Vm& vm);
  // HW queues of a vIOMMU.
  uint32_t HwQueues(const Vm& vm);
  uapi::IommuHwInfoArmSmmuv3 SmmuInfo(const Vm& vm);
  // Where VIOMMU_ALLOC said that its region is.
  [[nodiscard]] Window WindowOf(const ViommuData& data) const;
  // The ids that are free once the device is closed, ascending.
  [[nodiscard]] std::vector<uint32_t> IdsOf(const Device& device) const;
  // One event of the device, attached to a nested HWPT, for the event queue of its vIOMMU. 0 or a
  // negative errno.
  int MakeEvent(const Vm& vm);
  // A device whose events go into a queue of that depth.
  struct EventSource {
    Vm vm;
    uint32_t viommu = 0;
    UniqueFd events;
  };
  EventSource NewEventSource(uint32_t depth);

  // A memfd of `size` bytes on small pages, none of which lies in memory behind the one before it.
  UniqueFd NewMemory(uint64_t size);

 private:
  // Memory and an HWPT, once the context has its device.
  void Furnish(Vm* vm);

  std::unique_ptr<KernelUnderTest> under_test_;
};

// First in a case: skips it, with a reason that is counted, on a machine that has not all of these.
#define BERTH_NEEDS(...)                                      \
  if (const auto missing = this->Missing({__VA_ARGS__})) {    \
    GTEST_SKIP() << berth::conformance::SkipReason(*missing); \
  }

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_
