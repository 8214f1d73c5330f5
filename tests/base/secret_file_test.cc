// SPDX-License-Identifier: Apache-2.0
#include "lib/base/secret_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/base/status.h"

namespace berth {
namespace {

class SecretFileTest : public ::testing::Test {
 protected:
  SecretFileTest() {
    std::string folder = ::testing::TempDir() + "berth-secret-XXXXXX";
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    std::ofstream(path()) << "a secret\n";
  }
  ~SecretFileTest() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/secret"; }

  std::string folder_;
};

TEST_F(SecretFileTest, IsReadWhenOnlyItsOwnerMay) {
  ASSERT_EQ(::chmod(path().c_str(), 0600), 0);
  EXPECT_EQ(ReadSecretFile(path(), 100).value_or(""), "a secret\n");
  EXPECT_EQ(ReadSecretFile(path(), 4).value_or(""), "a se");
}

TEST_F(SecretFileTest, IsRefusedWhenOthersMayReadIt) {
  ASSERT_EQ(::chmod(path().c_str(), 0640), 0);
  const absl::Status refused = ReadSecretFile(path(), 100).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kInvalidField) << refused;
  EXPECT_EQ(MetadataOf(refused)["path"], path());
}

TEST_F(SecretFileTest, ThatIsNotThereIsSaid) {
  EXPECT_EQ(ReasonOf(ReadSecretFile(folder_ + "/none", 100).status()), Reason::kNotFound);
}

}  // namespace
}  // namespace berth
