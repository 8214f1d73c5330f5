// SPDX-License-Identifier: Apache-2.0
//
// The command on recordings of other machines than those in tests/data/oracle, written from what
// Linux 7.3 does (drivers/iommu/iommufd, drivers/iommu/arm/arm-smmu-v3).
#include "tests/oracle/command.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace berth::oracle {
namespace {

constexpr int kEinval = -22;
constexpr int kEnospc = -28;
constexpr int kEnxio = -6;

class CommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / "berth-oracle-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    file_ = folder_ + "/recording.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Begin(int page_size, int devices) {
    text_ = absl::StrCat(R"({"header":1,"format":1,"level":"D","page":)", page_size,
                         R"(,"memfds":[{"kind":"shmem","size":4194304}],"ndev":)", devices, "}\n");
    Add("OPEN_IOMMUFD", R"("ctx":0)", 0);
    for (int i = 0; i < devices; ++i) {
      Add("CDEV_OPEN", absl::StrCat(R"("cdev":)", i, R"(,"dev":)", i), 0);
      Add("BIND_IOMMUFD", absl::StrCat(R"("cdev":)", i, R"(,"ctx":0,"flags":0,"size":24)"), 0,
          absl::StrCat(R"("out_devid":)", i + 1));
    }
  }
  void Add(const std::string& op, const std::string& args, int rc, const std::string& out = "") {
    absl::StrAppend(&text_, R"({"i":)", steps_++, R"(,"op":")", op, R"(","args":{)", args,
                    R"(},"rc":)", rc, R"(,"out":{)", out, "}}\n");
  }
  // Nesting parents on IOAS `ioas`.
  void AddParent(int device, int ioas, int id) {
    Add("HWPT_ALLOC",
        absl::StrCat(R"("ctx":0,"flags":1,"dev_id":)", device, R"(,"pt_id":)", ioas,
                     R"(,"size":48)"),
        0, absl::StrCat(R"("out_hwpt_id":)", id));
  }
  void AddViommu(int device, int hwpt, int rc, const std::string& out = "") {
    Add("VIOMMU_ALLOC",
        absl::StrCat(R"("ctx":0,"flags":0,"type":2,"dev_id":)", device, R"(,"hwpt_id":)", hwpt,
                     R"(,"data_len":16,"data":"","ptr":1,"size":40)"),
        rc, out);
  }
  void AddVdevice(int viommu, int device, int rc) {
    Add("VDEVICE_ALLOC",
        absl::StrCat(R"("ctx":0,"viommu_id":)", viommu, R"(,"dev_id":)", device, R"(,"virt_id":)",
                     device, R"(,"size":24)"),
        rc);
  }
  void AddQueue(int viommu, int index, int rc) {
    Add("HW_QUEUE_ALLOC",
        absl::StrCat(R"("ctx":0,"flags":0,"viommu_id":)", viommu, R"(,"type":1,"index":)", index,
                     R"(,"nesting_parent_iova":)", 0x30000000 + 32 * index,
                     R"(,"length":32,"size":40)"),
        rc);
  }
  void AddMap(int length, int rc) {
    Add("IOAS_MAP_FILE",
        absl::StrCat(R"("ctx":0,"ioas_id":4,"flags":7,"memfd":0,"start":0,"length":)", length,
                     R"(,"iova":805306368,"size":40)"),
        rc);
  }

  int Run(std::vector<std::string> options) {
    std::ofstream(file_) << text_;
    options.insert(options.begin(), "berth-oracle-replay");
    options.push_back(file_);
    std::vector<const char*> argv;
    for (const std::string& option : options) argv.push_back(option.c_str());
    std::ostringstream out;
    const int code = RunCommand(static_cast<int>(argv.size()), argv.data(), out);
    printed_ = out.str();
    return code;
  }
  [[nodiscard]] bool AllAgree() const {
    const std::string line = absl::StrCat("level D: steps ", steps_, " = compared ", steps_,
                                          " + excluded 0; agreeing ", steps_, "\n");
    return printed_.find(line) != std::string::npos;
  }

  std::string printed_;

 private:
  std::string folder_;
  std::string file_;
  std::string text_;
  int steps_ = 0;
};

// Devices 1 and 2 are behind one unit, 3 behind another. A unit has one VINTF for guests, a VINTF 4
// LVCMDQs and one SID slot.
TEST_F(CommandTest, PlaysToTwoUnitsWithOtherCounts) {
  Begin(4096, 3);
  Add("IOAS_ALLOC", R"("ctx":0,"flags":0,"size":12)", 0, R"("out_ioas_id":4)");
  AddParent(1, 4, 5);
  AddParent(3, 4, 6);
  AddViommu(3, 5, kEinval);
  AddViommu(1, 5, 0, R"("out_viommu_id":7,"mmap_offset":4096,"mmap_length":65536)");
  AddViommu(1, 5, kEnospc);
  AddViommu(3, 6, 0, R"("out_viommu_id":8)");
  AddVdevice(7, 3, kEinval);
  AddVdevice(7, 1, 0);
  AddVdevice(7, 2, kEnospc);
  AddMap(4096, 0);
  for (int index = 0; index < 4; ++index) AddQueue(7, index, 0);
  AddQueue(7, 4, kEinval);

  const std::vector<std::string> all = {"--device-units", "0,0,1", "--vintfs",    "2",
                                        "--lvcmdqs",      "4",     "--sid-slots", "1"};
  EXPECT_EQ(Run(all), 0) << printed_;
  EXPECT_TRUE(AllAgree()) << printed_;
  // Each of the options counts.
  for (size_t without = 0; without < all.size(); without += 2) {
    std::vector<std::string> options = all;
    options.erase(options.begin() + static_cast<long>(without),
                  options.begin() + static_cast<long>(without) + 2);
    EXPECT_EQ(Run(options), 1) << "without " << all[without];
    EXPECT_FALSE(AllAgree()) << "without " << all[without];
  }
}

// The first window is one page above 0, mmap(2) rounds up to pages, and an SMMU with a granule of
// that size takes it (Linux drivers/iommu/io-pgtable-arm.c, arm_lpae_restrict_pgsizes()).
TEST_F(CommandTest, PlaysToThePageSizeOfTheRecording) {
  Begin(65536, 3);
  Add("IOAS_ALLOC", R"("ctx":0,"flags":0,"size":12)", 0, R"("out_ioas_id":4)");
  AddParent(1, 4, 5);
  AddViommu(1, 5, 0, R"("out_viommu_id":6,"mmap_offset":65536,"mmap_length":65536)");
  Add("MMAP", R"("ctx":0,"offset":65536,"length":65537,"shared":1,"prot":3,"map":0)", kEnxio);
  Add("MMAP", R"("ctx":0,"offset":65536,"length":4096,"shared":1,"prot":3,"map":0)", 0);
  Add("MUNMAP", R"("map":0,"offset":0,"length":4096)", 0);
  Add("DESTROY", R"("ctx":0,"id":6,"size":8)", 0);
  AddMap(4096, kEinval);
  AddMap(65536, 0);
  EXPECT_EQ(Run({}), 0) << printed_;
  EXPECT_TRUE(AllAgree()) << printed_;
}

TEST_F(CommandTest, SaysWhyItCannotPlay) {
  Begin(16384, 1);
  EXPECT_EQ(Run({}), 2);
  EXPECT_NE(printed_.find("page_size"), std::string::npos) << printed_;
  EXPECT_NE(Run({"--no-such-option"}), 0);
}

}  // namespace
}  // namespace berth::oracle
