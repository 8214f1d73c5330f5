// SPDX-License-Identifier: Apache-2.0
#include "lib/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <string>

#include "config_test.pb.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using ::berth::config_test::Host;
using ::berth::config_test::ISOLATION_MODE_CONFINED;
using ::berth::config_test::ISOLATION_MODE_TRUSTED;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Host Parse(std::string_view yaml) {
  Host host;
  const absl::Status status = ParseYaml(yaml, "host.yaml", &host);
  EXPECT_TRUE(status.ok()) << status;
  return host;
}

// The reason and the message of what is wrong with `yaml`.
std::pair<Reason, std::string> Complaint(std::string_view yaml) {
  Host host;
  host.set_name("as it was");
  const absl::Status status = ParseYaml(yaml, "host.yaml", &host);
  EXPECT_FALSE(status.ok()) << yaml;
  EXPECT_EQ(host.name(), "as it was") << "an error must not change the message";
  return {ReasonOf(status), std::string(status.message())};
}

std::string Nested(int levels) {
  std::string yaml;
  for (int i = 1; i < levels; ++i) yaml += "{next: ";
  yaml += "{name: deep}";
  yaml.append(static_cast<size_t>(levels - 1), '}');
  return yaml;
}

TEST(ParseYamlTest, ReadsEveryKindOfField) {
  const Host host = Parse(R"(
name: left
units:
- {name: smmu0, vintfs: 63, devices: [a, b]}
- name: smmu1
cordoned: true
small: -5
small_unsigned: 0xffffffff
memory_bytes: 9007199254740993
token: "18446744073709551615"
ratio: 0.5
score: -1e300
blob: aGk=
lease: 1h30m
created: 2026-01-02T03:04:05.25Z
labels: {zone: b, empty: ""}
units_by_index: {7: {name: seven}}
sizes: [1, -2]
spare: false
by_flag: {true: trusted}
)");
  EXPECT_EQ(host.name(), "left");
  ASSERT_EQ(host.units_size(), 2);
  EXPECT_EQ(host.units(0).vintfs(), 63u);
  EXPECT_THAT(host.units(0).devices(), ElementsAre("a", "b"));
  EXPECT_EQ(host.units(1).name(), "smmu1");
  EXPECT_TRUE(host.cordoned());
  EXPECT_EQ(host.small(), -5);
  EXPECT_EQ(host.small_unsigned(), 0xffffffffu);
  EXPECT_EQ(host.memory_bytes(), 9007199254740993) << "beyond what a double holds";
  EXPECT_EQ(host.token(), UINT64_MAX);
  EXPECT_EQ(host.ratio(), 0.5f);
  EXPECT_EQ(host.score(), -1e300);
  EXPECT_EQ(host.blob(), "hi");
  EXPECT_EQ(host.lease().seconds(), 5400);
  EXPECT_EQ(host.created().seconds(), 1767323045);
  EXPECT_EQ(host.created().nanos(), 250'000'000);
  EXPECT_EQ(host.labels().at("zone"), "b");
  EXPECT_EQ(host.labels().at("empty"), "");
  EXPECT_EQ(host.units_by_index().at(7).name(), "seven");
  EXPECT_THAT(host.sizes(), ElementsAre(1, -2));
  EXPECT_TRUE(host.has_spare());
  EXPECT_EQ(host.by_flag().at(true), ISOLATION_MODE_TRUSTED);
}

TEST(ParseYamlTest, JsonIsYaml) {
  const Host host = Parse(
      R"({"name": "left", "memoryBytes": "12", "unitsByIndex": {"7": {"vintfs": 3}}, "lease": "2s"})");
  EXPECT_EQ(host.memory_bytes(), 12);
  EXPECT_EQ(host.units_by_index().at(7).vintfs(), 3u);
  EXPECT_EQ(host.lease().seconds(), 2);
}

TEST(ParseYamlTest, KeysMayBeInEitherCaseButOnlyOnce) {
  EXPECT_EQ(Parse("memory_bytes: 1").memory_bytes(), 1);
  EXPECT_EQ(Parse("memoryBytes: 1").memory_bytes(), 1);
  EXPECT_THAT(Complaint("memoryBytes: 1\nmemory_bytes: 2").second,
              StartsWith("host.yaml:2:1: memory_bytes: the field is there twice"));
}

TEST(ParseYamlTest, EnumsGoByFullOrShortNameInAnyCase) {
  for (const char* name : {"ISOLATION_MODE_CONFINED", "CONFINED", "confined", "Confined"}) {
    EXPECT_EQ(Parse(std::string("isolation: ") + name).isolation(), ISOLATION_MODE_CONFINED);
  }
  EXPECT_THAT(Parse("modes: [trusted, confined]").modes(),
              ElementsAre(ISOLATION_MODE_TRUSTED, ISOLATION_MODE_CONFINED));
  EXPECT_EQ(Complaint("isolation: loose").second,
            "host.yaml:1:12: isolation: expected one of TRUSTED, CONFINED, got \"loose\"");
}

TEST(ParseYamlTest, AStringTakesPlainTextAsItIsWritten) {
  EXPECT_EQ(Parse("name: 1.10").name(), "1.10");
  EXPECT_EQ(Parse("name: no").name(), "no");
  EXPECT_EQ(Parse("name: 0000:3b:00.0").name(), "0000:3b:00.0");
}

TEST(ParseYamlTest, NothingMeansUnset) {
  EXPECT_EQ(Parse("").ByteSizeLong(), 0u);
  EXPECT_EQ(Parse("# only a remark\n").ByteSizeLong(), 0u);
  EXPECT_EQ(Parse("name:\nunits: null\nlease: ~").ByteSizeLong(), 0u);
  EXPECT_EQ(Parse("sqlite:\netcd: {name: a}").etcd().name(), "a");
  Host host;
  host.set_name("old");
  ASSERT_TRUE(ParseYaml("small: 1", "x", &host).ok());
  EXPECT_EQ(host.name(), "") << "the message is replaced, not merged into";
}

TEST(ParseYamlTest, AnUnknownKeyNamesItsPlaceAndTheNearestKnownKey) {
  Host host;
  const absl::Status status =
      ParseYaml("name: a\nunits:\n- nmae: smmu0\n", "deploy/host.yaml", &host);
  EXPECT_EQ(ReasonOf(status), Reason::kUnknownField);
  EXPECT_EQ(status.message(),
            "deploy/host.yaml:3:3: units[0]: unknown key \"nmae\" in Unit; did you mean \"name\"?");
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"source", "deploy/host.yaml"},
                                               {"line", "3"},
                                               {"column", "3"},
                                               {"field", "units[0]"},
                                               {"key", "nmae"}}));
}

TEST(ParseYamlTest, AnUnknownKeyNearNothingListsTheKnownKeys) {
  EXPECT_EQ(Complaint("units: [{frobnicate: 1}]").second,
            "host.yaml:1:10: units[0]: unknown key \"frobnicate\" in Unit; its keys are name, "
            "vintfs, devices");
}

TEST(ParseYamlTest, AWrongTypeSaysWhatWasExpected) {
  const std::pair<const char*, const char*> cases[] = {
      {"small: many",
       "1:8: small: expected an integer from -2147483648 to 2147483647, got \"many\""},
      {"small: 2147483648", "1:8: small: expected an integer"},
      {"small: \"5\"", "1:8: small: expected an integer"},
      {"small: 1.0", "1:8: small: expected an integer"},
      {"small: 010", "1:8: small: expected an integer"},
      {"small_unsigned: -1", "1:17: small_unsigned: expected an integer from 0 to 4294967295"},
      {"token: 18446744073709551616", "1:8: token: expected an integer from 0 to"},
      {"cordoned: yes", "1:11: cordoned: expected true or false, got \"yes\""},
      {"cordoned: \"true\"", "1:11: cordoned: expected true or false"},
      {"score: high", "1:8: score: expected a number, got \"high\""},
      {"lease: 30", "1:8: lease: expected a duration such as 30s or 1h30m, got \"30\""},
      {"lease: [1s]", "1:8: lease: expected a duration such as 30s or 1h30m, got a list"},
      {"created: today", "1:10: created: expected a time such as 2026-01-31T12:00:00Z"},
      {"blob: '!'", "1:7: blob: expected base64, got \"!\""},
      {"name: [a]", "1:7: name: expected a value, got a list"},
      {"name: {a: b}", "1:7: name: expected a value, got a map"},
      {"units: {name: a}", "1:8: units: expected a list, got a map"},
      {"units: [a]", "1:9: units[0]: expected a map, got \"a\""},
      {"units: [~]", "1:9: units[0]: expected a map, got nothing"},
      {"units: [{devices: [a, ~]}]", "units[0].devices[1]: expected a value, got nothing"},
      {"labels: [a]", "1:9: labels: expected a map, got a list"},
      {"labels: {a: ~}", "labels[\"a\"]: expected a value, got nothing"},
      {"units_by_index: {x: {}}", "units_by_index[\"x\"]: expected an integer from 0 to"},
      {"- name: a", "1:1: expected a map, got a list"},
      {"just words", "1:1: expected a map, got \"just words\""},
  };
  for (const auto& [yaml, complaint] : cases) {
    const auto [reason, message] = Complaint(yaml);
    EXPECT_EQ(reason, Reason::kInvalidField) << yaml;
    EXPECT_THAT(message, AllOf(StartsWith("host.yaml:1:"), HasSubstr(complaint))) << yaml;
  }
}

TEST(ParseYamlTest, OnlyOneMemberOfAOneofMayBeGiven) {
  EXPECT_EQ(Complaint("sqlite: a\netcd: {name: b}").second,
            "host.yaml:2:1: etcd: only one of the keys of \"store\" can be given");
}

TEST(ParseYamlTest, DuplicateKeysAreRefused) {
  EXPECT_EQ(Complaint("name: a\nname: b").second, "host.yaml:2:1: the key \"name\" is there twice");
  EXPECT_THAT(Complaint("labels: {a: b, a: c}").second, HasSubstr("the key \"a\" is there twice"));
}

TEST(ParseYamlTest, AnchorsAliasesAndTagsAreRefused) {
  EXPECT_THAT(Complaint("name: &x a\nsqlite: *x").second,
              AllOf(StartsWith("host.yaml:1:"), HasSubstr("anchors and aliases")));
  EXPECT_THAT(Complaint("name: !!str 5").second, HasSubstr("tags are not supported"));
  EXPECT_THAT(Complaint("[a, b]: c").second, HasSubstr("a key must be text, not a list"));
}

TEST(ParseYamlTest, BrokenYamlNamesThePlace) {
  const auto [reason, message] = Complaint("name: a\nunits: [");
  EXPECT_EQ(reason, Reason::kInvalidField);
  EXPECT_THAT(message, AllOf(StartsWith("host.yaml:"), HasSubstr("not valid YAML")));
}

TEST(ParseYamlTest, DepthAndSizeAreBounded) {
  EXPECT_EQ(Parse(Nested(kMaxYamlDepth)).has_next(), true);
  EXPECT_EQ(Complaint(Nested(kMaxYamlDepth + 1)).first, Reason::kTooLarge);
  EXPECT_EQ(Complaint(std::string(100'000, '[')).first, Reason::kTooLarge);
  EXPECT_EQ(Complaint(std::string(kMaxYamlBytes + 1, ' ')).first, Reason::kTooLarge);
  EXPECT_EQ(Parse("#" + std::string(kMaxYamlBytes - 1, ' ')).ByteSizeLong(), 0u);
}

TEST(ParseYamlTest, OneDocumentIsExpected) {
  EXPECT_EQ(Parse("---\nname: a\n---\n").name(), "a");
  EXPECT_EQ(Complaint("name: a\n---\nname: b").second,
            "host.yaml:3:1: expected one document, got another");
}

TEST(ParseYamlDocumentsTest, ReadsAStream) {
  const auto hosts =
      ParseYamlDocuments("---\nname: a\n---\n---\nname: b\n", "s", Host::default_instance());
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  ASSERT_EQ(hosts->size(), 2u);
  EXPECT_EQ(static_cast<const Host&>(*(*hosts)[1]).name(), "b");
  EXPECT_THAT(*ParseYamlDocuments("", "s", Host::default_instance()), IsEmpty());

  const auto wrong = ParseYamlDocuments("name: a\n---\nnme: b", "s", Host::default_instance());
  EXPECT_THAT(std::string(wrong.status().message()), StartsWith("s:3:1: unknown key"));
}

class LoadYamlTest : public ::testing::Test {
 protected:
  LoadYamlTest() {
    char pattern[] = "/tmp/berth-config-XXXXXX";
    folder_ = ::mkdtemp(pattern);
    path_ = folder_ + "/host.yaml";
  }
  ~LoadYamlTest() override {
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  std::string folder_;
  std::string path_;
};

TEST_F(LoadYamlTest, ReadsAFileAndNamesItInErrors) {
  Write("name: a\n");
  Host host;
  ASSERT_TRUE(LoadYamlFile(path_, &host).ok());
  EXPECT_EQ(host.name(), "a");
  EXPECT_EQ(LoadYamlDocuments(path_, host)->size(), 1u);

  Write("nam: a\n");
  EXPECT_THAT(std::string(LoadYamlFile(path_, &host).message()), StartsWith(path_ + ":1:1: "));
}

TEST_F(LoadYamlTest, RefusesWhatItCannotRead) {
  Host host;
  EXPECT_EQ(ReasonOf(LoadYamlFile(path_, &host)), Reason::kNotFound);
  EXPECT_EQ(ErrnoOf(LoadYamlFile(folder_, &host)), EISDIR);
  Write(std::string(kMaxYamlBytes + 10, '#'));
  EXPECT_EQ(ReasonOf(LoadYamlFile(path_, &host)), Reason::kTooLarge);
}

}  // namespace
}  // namespace berth
