// SPDX-License-Identifier: Apache-2.0
//
// The behaviour that every KernelApi must have: what Linux 7.3 does. The cases are in *_cases.cc,
// written with raw structs, because the exact errno and the order of checks are the contract. A
// kernel is held to them by one INSTANTIATE_TEST_SUITE_P (emulator_conformance_test.cc).
#ifndef BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_
#define BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/kernel_call.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::conformance {

// A kernel on which nothing else runs, and what the suite must know of its machine.
class KernelUnderTest {
 public:
  virtual ~KernelUnderTest() = default;
  virtual KernelApi& kernel() = 0;
  // cdevs of unbound devices, each in a group of its own, behind one unit with CMDQV. At least two.
  [[nodiscard]] virtual std::vector<std::string> devices() const = 0;
  // One behind another unit with CMDQV, where there is one.
  [[nodiscard]] virtual std::optional<std::string> other_device() const = 0;
  // VINTFs of the unit of devices() that nobody has. At least two.
  [[nodiscard]] virtual int vintfs() const = 0;
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
inline constexpr uint64_t kPage = 4096;
// Where NewVm() maps its memory, and how much.
inline constexpr uint64_t kMemoryIova = 0x40000000;
inline constexpr uint64_t kMemorySize = 1 << 20;
// Nothing is mapped there.
inline constexpr uint64_t kHoleIova = 0x80000000;

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

// One thing wrong with a call, and the errno for it.
template <typename Struct>
struct Fault {
  const char* what;
  std::function<void(Struct&)> apply;
  int error;
};

// One device bound to a context of its own, memory, and a nesting parent: what vIOMMUs need.
struct Vm {
  UniqueFd context;
  UniqueFd cdev;
  UniqueFd memory;
  uint32_t device = 0;
  uint32_t ioas = 0;
  uint32_t parent = 0;
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
    ASSERT_GE(under_test_->devices().size(), 2U);
    ASSERT_GE(under_test_->vintfs(), 2);
  }

  KernelApi& kernel() { return under_test_->kernel(); }
  KernelUnderTest& under_test() { return *under_test_; }
  std::string device(size_t index) { return under_test_->devices().at(index); }

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
  // Without memory and parent when `name` is of a device that is to be bound only.
  Vm NewVm(const std::string& name);
  Vm NewVm() { return NewVm(device(0)); }
  uint32_t NewHwpt(const Vm& vm, uint32_t flags);
  uint32_t NewViommu(const Vm& vm, uapi::IommuViommuTegra241Cmdqv* page0 = nullptr);
  uint32_t NewPlainViommu(const Vm& vm);
  uint32_t NewVdevice(const Vm& vm, uint32_t viommu, uint64_t vsid);
  uint32_t NewHwQueue(const Vm& vm, uint32_t viommu, uint32_t index);
  NewEventQueue NewVeventq(const Vm& vm, uint32_t viommu, uint32_t type);
  uint32_t NewNested(const Vm& vm, uint32_t viommu, const uint64_t (&ste)[2]);

  // ---- Calls whose result is the point: 0 or a negative errno.
  int Destroy(const UniqueFd& context, uint32_t id);
  int MapFile(const UniqueFd& context, uint32_t ioas, int fd, uint64_t length, uint64_t iova,
              uint64_t start = 0);
  int Unmap(const UniqueFd& context, uint32_t ioas, uint64_t iova, uint64_t length);
  int Attach(const UniqueFd& cdev, uint32_t pt_id);
  int Detach(const UniqueFd& cdev);

  // ---- Valid arguments, to be spoilt.
  uapi::IommuViommuAlloc ViommuArg(const Vm& vm, uapi::IommuViommuTegra241Cmdqv* page0);
  uapi::IommuHwQueueAlloc HwQueueArg(uint32_t viommu, uint32_t index);
  uapi::IommuHwptAlloc NestedArg(const Vm& vm, uint32_t viommu, const uint64_t (&ste)[2]);
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

  uapi::IommuHwInfoArmSmmuv3 SmmuInfo(const Vm& vm);

  // A memfd of `size` bytes on small pages, no two of which are physically adjacent.
  static UniqueFd NewMemory(uint64_t size);

 private:
  std::unique_ptr<KernelUnderTest> under_test_;
};

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_KERNEL_API_SUITE_H_
