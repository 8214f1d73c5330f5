// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/token.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "lib/base/status.h"

namespace berth {
namespace {

class TokenTest : public ::testing::Test {
 protected:
  TokenTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-key-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/key";
  }
  ~TokenTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& key, mode_t mode) {
    std::ofstream(path_) << key;
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
  }

  std::string folder_;
  std::string path_;
};

TEST_F(TokenTest, IsAnHmacOfUidAndVersion) {
  const TokenMaker maker(std::string(32, 'k'));
  // printf 'berth attach|uid-1|1' | openssl dgst -sha256 -hmac "$(printf 'k%.0s' {1..32})"
  EXPECT_EQ(maker.Token("uid-1", 1),
            "dc08dd72f2d4ffb646d4a0d280877b820fa5a78c3ce4be92c3d15c3335b0e5a7");
  EXPECT_NE(maker.Token("uid-1", 2), maker.Token("uid-1", 1));
  EXPECT_NE(maker.Token("uid-2", 1), maker.Token("uid-1", 1));
  EXPECT_NE(TokenMaker(std::string(32, 'l')).Token("uid-1", 1), maker.Token("uid-1", 1));
}

TEST_F(TokenTest, FingerprintsOfKeysDifferAndAreNoTokens) {
  const TokenMaker maker(std::string(32, 'k'));
  EXPECT_EQ(maker.fingerprint(), TokenMaker(std::string(32, 'k')).fingerprint());
  EXPECT_NE(maker.fingerprint(), TokenMaker(std::string(32, 'l')).fingerprint());
  EXPECT_EQ(maker.fingerprint().size(), 16U);
  EXPECT_NE(maker.Token("", 0).substr(0, 16), maker.fingerprint());
}

TEST_F(TokenTest, MakesAKeyThatOthersCannotReadAndFindsItAgain) {
  const auto made = TokenMaker::FromFile(path_);
  ASSERT_TRUE(made.ok()) << made.status();
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(info.st_size, 32);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
  const auto found = TokenMaker::FromFile(path_);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->Token("uid", 1), made->Token("uid", 1));
}

TEST_F(TokenTest, RefusesAKeyThatIsReadableByOthersOrTooShort) {
  Write(std::string(32, 'k'), 0640);
  EXPECT_EQ(ReasonOf(TokenMaker::FromFile(path_).status()), Reason::kInvalidField);
  Write(std::string(31, 'k'), 0600);
  EXPECT_EQ(ReasonOf(TokenMaker::FromFile(path_).status()), Reason::kInvalidField);
  Write(std::string(32, 'k'), 0400);
  EXPECT_TRUE(TokenMaker::FromFile(path_).ok());
}

TEST_F(TokenTest, SaysWhereAKeyCannotBeMade) {
  const absl::Status status = TokenMaker::FromFile(folder_ + "/none/key").status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("none/key"), std::string::npos) << status;
}

}  // namespace
}  // namespace berth
