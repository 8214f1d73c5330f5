// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/table.h"

#include <google/protobuf/timestamp.pb.h>
#include <gtest/gtest.h>

namespace berth::cli {
namespace {

TEST(TableTest, ColumnsAreAlignedAndTheLastIsNotPadded) {
  const TableRow rows[] = {{"a", "long-value", "x"}, {"longer", "b", "yy"}};
  EXPECT_EQ(Table({"NAME", "HOST", "AGE"}, rows),
            "NAME    HOST        AGE\n"
            "a       long-value  x\n"
            "longer  b           yy\n");
}

TEST(TableTest, WithoutAHeaderTheRowsDecide) {
  const TableRow rows[] = {{"a", "b"}};
  EXPECT_EQ(Table({}, rows), "a  b\n");
}

TEST(TableTest, WidthIsCountedInCharacters) {
  const TableRow rows[] = {{"zürich", "x"}, {"berlin", "x"}};
  EXPECT_EQ(Table({}, rows), "zürich  x\nberlin  x\n");
}

TEST(TableTest, LaterRowsKeepTheColumnsOfEarlierOnes) {
  TableWriter writer;
  const TableRow first[] = {{"longer", "x"}};
  const TableRow second[] = {{"a", "x"}};
  EXPECT_EQ(writer.Rows(first), "longer  x\n");
  EXPECT_EQ(writer.Rows(second), "a       x\n");
  EXPECT_EQ(writer.Rows({}), "");
}

TEST(TableTest, CellsHaveNoBlanksAndNoControlCharacters) {
  EXPECT_EQ(Cell(""), "<none>");
  EXPECT_EQ(CellOr("", kUnknown), "<unknown>");
  EXPECT_EQ(Cell("two words\n\x1b[2J"), "two_words_?[2J");
  EXPECT_EQ(TextCell("two words\nthree"), "two words three");
}

TEST(TableTest, AgesHaveOneUnit) {
  const std::pair<absl::Duration, const char*> cases[] = {
      {absl::Seconds(-5), "0s"}, {absl::Milliseconds(900), "0s"}, {absl::Seconds(59), "59s"},
      {absl::Seconds(60), "1m"}, {absl::Minutes(59), "59m"},      {absl::Minutes(119), "1h"},
      {absl::Hours(23), "23h"},  {absl::Hours(24), "1d"},         {absl::Hours(24 * 400), "400d"}};
  for (const auto& [age, text] : cases) EXPECT_EQ(Age(age), text);
}

TEST(TableTest, WhatNeverHappenedHasNoAge) {
  EXPECT_EQ(AgeOf(google::protobuf::Timestamp(), absl::UnixEpoch()), "<unknown>");
}

}  // namespace
}  // namespace berth::cli
