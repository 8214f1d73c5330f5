// SPDX-License-Identifier: Apache-2.0
#include "lib/base/reason.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace berth {
namespace {

using ::testing::Lt;
using ::testing::MatchesRegex;

// The list itself, so that nothing depends on the functions under test.
struct Listed {
  uint32_t number;
  Reason reason;
  std::string name;
  absl::StatusCode code;
};

std::vector<Listed> List() {
  std::vector<Listed> list;
#define BERTH_LISTED(number, enumerator, name, code, meaning) \
  list.push_back({number, Reason::enumerator, #name, absl::StatusCode::code});
  BERTH_REASONS(BERTH_LISTED)
#undef BERTH_LISTED
  return list;
}

TEST(ReasonTest, NumbersAscendAndNamesAreUnique) {
  std::set<std::string> names;
  uint32_t last = 0;
  for (const Listed& row : List()) {
    EXPECT_THAT(last, Lt(row.number)) << row.name;
    last = row.number;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_THAT(row.name, MatchesRegex("[A-Z][A-Z0-9_]*"));
  }
}

TEST(ReasonTest, NamesNumbersAndCodesLeadToEachOther) {
  for (const Listed& row : List()) {
    EXPECT_EQ(static_cast<uint32_t>(row.reason), row.number);
    EXPECT_EQ(ReasonName(row.reason), row.name);
    EXPECT_EQ(ReasonFromName(row.name), row.reason);
    EXPECT_EQ(ReasonFromNumber(row.number), row.reason);
    EXPECT_EQ(ReasonCode(row.reason), row.code);
    EXPECT_NE(row.code, absl::StatusCode::kOk) << row.name << " would be no error";
    EXPECT_FALSE(ReasonMeaning(row.reason).empty());
  }
}

TEST(ReasonTest, WhatIsNotInTheListIsUnspecified) {
  EXPECT_EQ(ReasonName(Reason::kUnspecified), "REASON_UNSPECIFIED");
  EXPECT_EQ(ReasonName(static_cast<Reason>(49)), "REASON_UNSPECIFIED");
  EXPECT_EQ(ReasonCode(Reason::kUnspecified), absl::StatusCode::kUnknown);
  EXPECT_EQ(ReasonFromNumber(0), std::nullopt);
  EXPECT_EQ(ReasonFromNumber(UINT32_MAX), std::nullopt);
  EXPECT_EQ(ReasonFromName(""), std::nullopt);
  EXPECT_EQ(ReasonFromName("no_capacity"), std::nullopt);
}

TEST(ReasonTest, SomeReasonsThatClientsTestForNeverChange) {
  EXPECT_EQ(static_cast<uint32_t>(Reason::kNotFound), 7u);
  EXPECT_EQ(static_cast<uint32_t>(Reason::kNoCapacity), 50u);
  EXPECT_EQ(static_cast<uint32_t>(Reason::kVintfExhausted), 102u);
  EXPECT_EQ(static_cast<uint32_t>(Reason::kWrongToken), 157u);
}

}  // namespace
}  // namespace berth
