// SPDX-License-Identifier: Apache-2.0
#include "lib/config/scalar.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "config_test.pb.h"

namespace berth::yaml {
namespace {

TEST(ParseIntegerTest, TakesDecimalAndHexWithinTheType) {
  EXPECT_EQ(ParseInteger<int32_t>("0"), 0);
  EXPECT_EQ(ParseInteger<int32_t>("-2147483648"), std::numeric_limits<int32_t>::min());
  EXPECT_EQ(ParseInteger<uint64_t>("0xFFFFFFFFFFFFFFFF"), std::numeric_limits<uint64_t>::max());
  for (const char* text : {"", "-", "+1", " 1", "1 ", "1_000", "01", "-01", "0x", "0x-1", "0xg",
                           "--1", "1.0", "1e3", "2147483648"}) {
    EXPECT_EQ(ParseInteger<int32_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(ParseInteger<uint32_t>("-1"), std::nullopt);
}

TEST(ParseDoubleTest, TakesNumbersAndTheNamedSpecials) {
  EXPECT_EQ(ParseDouble("-1.5e3"), -1500.0);
  EXPECT_TRUE(std::isinf(*ParseDouble(".inf")));
  EXPECT_LT(*ParseDouble("-Infinity"), 0);
  EXPECT_TRUE(std::isnan(*ParseDouble("NaN")));
  for (const char* text : {"", "x", "1.5x", "inf", "nan", "1e999"}) {
    EXPECT_EQ(ParseDouble(text), std::nullopt) << text;
  }
}

TEST(DurationTest, ReadsUnitsAndWritesSeconds) {
  const auto duration = [](std::string_view text) {
    const auto parsed = ParseDuration(text);
    return parsed.has_value() ? FormatDuration(*parsed) : "refused";
  };
  EXPECT_EQ(duration("30s"), "30s");
  EXPECT_EQ(duration("1h30m"), "5400s");
  EXPECT_EQ(duration("1.5s"), "1.500s");
  EXPECT_EQ(duration("250us"), "0.000250s");
  EXPECT_EQ(duration("-500ms"), "-0.500s");
  EXPECT_EQ(duration("1ns"), "0.000000001s");
  EXPECT_EQ(duration("0"), "0s");
  EXPECT_EQ(duration("315576000000s"), "315576000000s");
  for (const char* text : {"", "5", "s", "inf", "315576000001s", "1 day"}) {
    EXPECT_EQ(duration(text), "refused") << text;
  }
}

TEST(DurationTest, FormatsWhatNoValidMessageHolds) {
  EXPECT_EQ(FormatDuration({std::numeric_limits<int64_t>::min(), -1}),
            "-9223372036854775808.000000001s");
}

TEST(TimestampTest, ReadsAndWritesRfc3339InUtc) {
  const auto timestamp = [](std::string_view text) {
    const auto parsed = ParseTimestamp(text);
    return parsed.has_value() ? FormatTimestamp(*parsed) : "refused";
  };
  EXPECT_EQ(timestamp("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
  EXPECT_EQ(timestamp("2026-01-02T03:04:05.25+01:00"), "2026-01-02T02:04:05.25Z");
  EXPECT_EQ(timestamp("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00Z");
  for (const char* text : {"", "2026-01-02", "yesterday", "infinite-future", "0000-01-01T00:00:00Z",
                           "2026-13-01T00:00:00Z"}) {
    EXPECT_EQ(timestamp(text), "refused") << text;
  }
}

TEST(Base64Test, TakesBothAlphabets) {
  EXPECT_EQ(ParseBase64("+/8="), "\xfb\xff");
  EXPECT_EQ(ParseBase64("-_8"), "\xfb\xff");
  EXPECT_EQ(ParseBase64(""), "");
  EXPECT_EQ(ParseBase64("a"), std::nullopt);
  EXPECT_EQ(ParseBase64("!!!!"), std::nullopt);
}

TEST(EnumTest, NamesAreFoundWithAndWithoutPrefix) {
  const auto& type = *config_test::IsolationMode_descriptor();
  EXPECT_EQ(ParseEnum(type, "trusted")->number(), 1);
  EXPECT_EQ(ParseEnum(type, "isolation_mode_trusted")->number(), 1);
  EXPECT_EQ(ParseEnum(type, "MODE_TRUSTED"), nullptr);
  EXPECT_EQ(ParseEnum(type, ""), nullptr);
  EXPECT_EQ(ShortName(*type.FindValueByNumber(2)), "CONFINED");
}

TEST(NearestTest, SuggestsOnlyWhatIsNear) {
  EXPECT_EQ(Nearest("unts", {"name", "units"}), "units");
  EXPECT_EQ(Nearest("vintf", {"vcmdqs", "vintfs"}), "vintfs");
  EXPECT_EQ(Nearest("completely", {"name", "units"}), "");
  EXPECT_EQ(Nearest("ab", {"xy"}), "");
  EXPECT_EQ(Nearest(std::string(100'000, 'x'), {"x"}), "");
}

}  // namespace
}  // namespace berth::yaml
