// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/text.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(PrintableUtf8, LeavesGoodTextAlone) {
  for (const char* text : {"", "plain\n\ttext", "Gerät €", "\xf0\x9f\x98\x80"}) {
    EXPECT_EQ(PrintableUtf8(text, 100), text);
  }
}

TEST(PrintableUtf8, ReplacesWhatIsNoUtf8AndControls) {
  EXPECT_EQ(PrintableUtf8("a\x01\x1b[31mb\x7f", 100), "a??[31mb?");
  EXPECT_EQ(PrintableUtf8(std::string_view("\0x", 2), 100), "?x");
  EXPECT_EQ(PrintableUtf8("\xc0\xaf", 100), "??") << "overlong";
  EXPECT_EQ(PrintableUtf8("\xe0\x80\xaf", 100), "???") << "overlong";
  EXPECT_EQ(PrintableUtf8("\xed\xa0\x80", 100), "???") << "a surrogate";
  EXPECT_EQ(PrintableUtf8("\xf4\x90\x80\x80", 100), "????") << "beyond U+10FFFF";
  EXPECT_EQ(PrintableUtf8("\xe2\x82", 100), "??") << "cut short";
  EXPECT_EQ(PrintableUtf8("\xc2\x9b", 100), "??") << "a C1 control";
}

TEST(PrintableUtf8, CutsBetweenCharacters) {
  EXPECT_EQ(PrintableUtf8("12345678", 8), "12345678");
  EXPECT_EQ(PrintableUtf8("123456789", 8), "12345...");
  EXPECT_EQ(PrintableUtf8("1234\xe2\x82\xac"
                          "5678",
                          8),
            "1234...");
  EXPECT_EQ(PrintableUtf8("12\xe2\x82\xac"
                          "5678",
                          8),
            "12\xe2\x82\xac...");
}

}  // namespace
}  // namespace berth
