// SPDX-License-Identifier: Apache-2.0
//
// Three lists of reasons must be one: the C++ table, the public proto, the C header of the VMM
// socket.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "berth/v1/error_reason.pb.h"
#include "lib/base/reason.h"

namespace berth {
namespace {

using Names = std::map<uint32_t, std::string>;

Names CppReasons() {
  Names names;
#define BERTH_REASON_NAME(number, enumerator, name, code, meaning) names[number] = #name;
  BERTH_REASONS(BERTH_REASON_NAME)
#undef BERTH_REASON_NAME
  return names;
}

Names ProtoReasons() {
  Names names;
  const auto* type = v1::ErrorReason_descriptor();
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() == 0) continue;
    names[static_cast<uint32_t>(type->value(i)->number())] = type->value(i)->name();
  }
  return names;
}

Names CReasons() {
  std::ifstream file(BERTH_VMM_WIRE_HEADER);
  std::stringstream text;
  text << file.rdbuf();
  const std::string header = text.str();
  const std::regex entry(R"(BERTH_VMM_REASON_([A-Z0-9_]+) = (\d+),)");
  Names names;
  for (std::sregex_iterator it(header.begin(), header.end(), entry), end; it != end; ++it) {
    const auto number = static_cast<uint32_t>(std::stoul((*it)[2]));
    if (number != 0) names[number] = (*it)[1];
  }
  return names;
}

TEST(ErrorReason, IsTheSameInCppAndInTheProto) { EXPECT_EQ(CppReasons(), ProtoReasons()); }

TEST(ErrorReason, IsTheSameInCppAndInTheHeaderOfTheVmmSocket) {
  EXPECT_EQ(CppReasons(), CReasons());
}

}  // namespace
}  // namespace berth
