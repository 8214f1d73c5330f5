// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/settings.h"

#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kConfig[] = R"(
current_context: lab
contexts:
- {name: lab, addresses: ["lab:1", "lab:2"], tls: {ca_file: lab.pem}}
- {name: prod, addresses: ["prod:1"], tls: {ca_file: prod.pem, certificate_file: c, key_file: k}}
)";

class SettingsTest : public CliTest {
 protected:
  absl::StatusOr<Settings> Resolve() {
    return ResolveSettings(
        flags_, variables_,
        {.path = Write("c.yaml", kConfig), .presence = ConfigFile::Presence::kRequired});
  }

  SettingsSource flags_;
  SettingsSource variables_;
};

TEST_F(SettingsTest, WithoutAnythingItIsTheLocalController) {
  const auto settings = ResolveSettings({}, {}, {});
  ASSERT_TRUE(settings.ok());
  EXPECT_THAT(settings->addresses, ElementsAre(kDefaultAddress));
  EXPECT_TRUE(settings->tls.empty());
}

TEST_F(SettingsTest, TheFileWinsOverWhatIsBuiltIn) {
  const auto settings = Resolve();
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_THAT(settings->addresses, ElementsAre("lab:1", "lab:2"));
  EXPECT_EQ(settings->tls.ca_file, "lab.pem");
}

TEST_F(SettingsTest, TheEnvironmentWinsOverTheFile) {
  variables_.context = "prod";
  EXPECT_THAT(Resolve()->addresses, ElementsAre("prod:1"));
  variables_.context.clear();
  variables_.servers = {"env:1"};
  EXPECT_THAT(Resolve()->addresses, ElementsAre("env:1"));
  // The certificates of the current context are not for another server.
  EXPECT_TRUE(Resolve()->tls.empty());
}

TEST_F(SettingsTest, FlagsWinOverTheEnvironment) {
  variables_.servers = {"env:1"};
  flags_.context = "prod";
  EXPECT_THAT(Resolve()->addresses, ElementsAre("prod:1"));
  flags_.servers = {"flag:1", "flag:2"};
  flags_.tls.ca_file = "flag.pem";
  const auto settings = Resolve();
  EXPECT_THAT(settings->addresses, ElementsAre("flag:1", "flag:2"));
  EXPECT_EQ(settings->tls.ca_file, "flag.pem");
  EXPECT_EQ(settings->tls.key_file, "k");
}

TEST_F(SettingsTest, AnUnknownContextIsAnErrorThatNamesTheOthers) {
  flags_.context = "pord";
  const auto settings = Resolve();
  EXPECT_EQ(ReasonOf(settings.status()), Reason::kNotFound);
  EXPECT_THAT(std::string(settings.status().message()), HasSubstr("it has: lab, prod"));
}

TEST_F(SettingsTest, OnlyANamedFileMustExist) {
  EXPECT_EQ(FindConfigFile({}, {}, "/h").path, "/h/.config/berth/config.yaml");
  EXPECT_EQ(FindConfigFile({}, {}, "").path, "");
  EXPECT_TRUE(ResolveSettings({}, {}, {.path = Path("nowhere")}).ok());
  const CliResult result = RunPlain({"get", "hosts", "--config", Path("nowhere")});
  EXPECT_EQ(result.exit_code, kExitUsage);
  environment_.variables.config_path = Path("nowhere");
  EXPECT_EQ(RunPlain({"config", "get-contexts"}).exit_code, kExitUsage);
}

TEST_F(SettingsTest, WrongFilesAreRefused) {
  for (const char* text : {"contexts: [{addresses: [a]}]", "contexts: [{name: a}]", "context: []",
                           "contexts: [{name: a, addresses: [b]}, {name: a, addresses: [c]}]"}) {
    EXPECT_EQ(RunPlain({"config", "get-contexts", "--config", Write("c.yaml", text)}).exit_code,
              kExitUsage)
        << text;
  }
}

TEST_F(SettingsTest, ContextsCanBeShownAndChosen) {
  const std::string path = Write("c.yaml", kConfig);
  environment_.variables.config_path = path;
  EXPECT_EQ(RunPlain({"config", "get-contexts"}).out,
            "NAME  CURRENT  TLS  ADDRESSES\n"
            "lab   *        yes  lab:1,lab:2\n"
            "prod           yes  prod:1\n");
  EXPECT_EQ(RunPlain({"config", "use-context", "prod"}).exit_code, kExitOk);
  EXPECT_EQ(RunPlain({"config", "current-context"}).out, "prod\n");
  EXPECT_EQ(ModeOf(path), 0600);
  EXPECT_EQ(RunPlain({"config", "use-context", "none"}).exit_code, kExitNotFound);
  EXPECT_EQ(RunPlain({"config", "current-context"}).out, "prod\n");
}

}  // namespace
}  // namespace berth::cli
