// SPDX-License-Identifier: Apache-2.0
#include "lib/config/proto_to_yaml.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "config_test.pb.h"
#include "lib/config/config.h"

namespace berth {
namespace {

using ::berth::config_test::Host;
using ::berth::config_test::ISOLATION_MODE_CONFINED;
using ::berth::config_test::IsolationMode;
using ::google::protobuf::util::MessageDifferencer;

Host FullHost() {
  Host host;
  host.set_name("left");
  auto* unit = host.add_units();
  unit->set_name("smmu0");
  unit->set_vintfs(63);
  unit->add_devices("0000:3b:00.0");
  host.set_cordoned(true);
  host.set_small(-5);
  host.set_memory_bytes(9007199254740993);
  host.set_ratio(0.1f);
  host.set_score(0.1);
  host.set_blob("hi");
  host.set_isolation(ISOLATION_MODE_CONFINED);
  host.mutable_lease()->set_seconds(30);
  host.mutable_created()->set_seconds(1767323045);
  (*host.mutable_labels())["zone"] = "b";
  (*host.mutable_labels())["arch"] = "";
  (*host.mutable_units_by_index())[7].set_name("seven");
  host.set_spare(false);
  return host;
}

TEST(ToYamlTest, WritesSetFieldsInTheOrderOfTheProto) {
  EXPECT_EQ(ToYaml(FullHost()), R"(name: left
units:
  - name: smmu0
    vintfs: 63
    devices:
      - "0000:3b:00.0"
cordoned: true
small: -5
memory_bytes: 9007199254740993
ratio: 0.1
score: 0.1
blob: aGk=
isolation: ISOLATION_MODE_CONFINED
lease: "30s"
created: "2026-01-02T03:04:05Z"
labels:
  arch: ""
  zone: b
units_by_index:
  7:
    name: seven
spare: false
)");
}

TEST(ToYamlTest, AnEmptyMessageIsAnEmptyMap) {
  EXPECT_EQ(ToYaml(Host()), "{}\n");
  EXPECT_EQ(ToJson(Host(), JsonStyle::kCompact), "{}");
  EXPECT_EQ(ToJson(Host(), JsonStyle::kPretty), "{}\n");
}

TEST(ToYamlTest, QuotesStringsThatWouldReadAsSomethingElse) {
  for (const char* text : {"true", "No", "null", "~", "", "12", "-1.5", ".5", "1e3", "0x1f", "nan",
                           "2026-01-01", "12:30:00"}) {
    Host host;
    host.add_units()->add_devices(text);
    EXPECT_EQ(ToYaml(host), std::string("units:\n  - devices:\n      - \"") + text + "\"\n");
  }
  Host host;
  host.set_name("plain words");
  EXPECT_EQ(ToYaml(host), "name: plain words\n");
}

TEST(ToYamlTest, EverythingReadsBackAsItWas) {
  Host host = FullHost();
  host.set_token(std::numeric_limits<uint64_t>::max());
  host.set_score(std::numeric_limits<double>::infinity());
  host.add_sizes(std::numeric_limits<int64_t>::min());
  host.mutable_lease()->set_seconds(-1);
  host.mutable_lease()->set_nanos(-500'000'000);
  host.mutable_created()->set_nanos(1);
  host.mutable_next()->set_name("tab\tquote\"back\\line\nnext: é \x01 # no remark");
  host.mutable_next()->set_blob(std::string("\0\xff\xfe", 3));
  (*host.mutable_labels())["a: b"] = " spaces ";
  (*host.mutable_labels())["- x"] = "{not: a map}";
  (*host.mutable_by_flag())[true] = ISOLATION_MODE_CONFINED;
  for (const std::string& text :
       {ToYaml(host), ToJson(host, JsonStyle::kCompact), ToJson(host, JsonStyle::kPretty)}) {
    Host back;
    const absl::Status status = ParseYaml(text, "back", &back);
    ASSERT_TRUE(status.ok()) << status << "\n" << text;
    EXPECT_TRUE(MessageDifferencer::Equals(host, back)) << text;
  }
}

TEST(ToYamlTest, ANumberThatHasNoNameIsWrittenAsANumber) {
  Host host;
  host.set_isolation(static_cast<IsolationMode>(99));
  EXPECT_EQ(ToYaml(host), "isolation: 99\n");
}

TEST(ToJsonTest, KeepsTypes) {
  Host host;
  host.set_name("a \"b\"\n\x01");
  host.set_memory_bytes(5);
  host.set_spare(true);
  (*host.mutable_units_by_index())[7].set_vintfs(1);
  EXPECT_EQ(
      ToJson(host, JsonStyle::kCompact),
      R"({"name":"a \"b\"\n\u0001","memory_bytes":5,"units_by_index":{"7":{"vintfs":1}},"spare":true})");
  EXPECT_EQ(ToJson(host.units_by_index().at(7), JsonStyle::kPretty), "{\n  \"vintfs\": 1\n}\n");
}

TEST(ListTest, YamlIsAStreamThatReadsBackAndJsonHasItems) {
  Host a;
  a.set_name("a");
  Host b;
  b.set_name("b");
  EXPECT_EQ(ListToYaml({&a, &b}), "name: a\n---\nname: b\n");
  EXPECT_EQ(ParseYamlDocuments(ListToYaml({&a, &b}), "s", a)->size(), 2u);
  EXPECT_EQ(ListToYaml({}), "");
  EXPECT_EQ(ListToJson({&a, &b}, JsonStyle::kCompact), R"({"items":[{"name":"a"},{"name":"b"}]})");
  EXPECT_EQ(ListToJson({}, JsonStyle::kCompact), R"({"items":[]})");
}

}  // namespace
}  // namespace berth
