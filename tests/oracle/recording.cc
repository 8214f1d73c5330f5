// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/recording.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::oracle {
namespace {

// A recording of 2,000 steps has about half a megabyte.
constexpr size_t kMaxFile = size_t{256} << 20;

template <typename T>
T ParseNumber(const std::string& text) {
  T value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

absl::Status BadFile(const std::string& path, const std::string& what) {
  return Error(Reason::kBadMessage, absl::StrCat(path, ": ", what), {{"path", path}});
}

absl::StatusOr<std::string> ReadAll(int fd) {
  std::string text;
  std::array<char, 65536> block;
  while (true) {
    const ssize_t count = ::read(fd, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoToStatus(errno, "read");
    if (count == 0) return text;
    text.append(block.data(), static_cast<size_t>(count));
    if (text.size() > kMaxFile) return Error(Reason::kTooLarge, "the recording is too large");
  }
}

// What `xz -dc path` prints.
absl::StatusOr<std::string> Decompress(const std::string& path) {
  int ends[2];
  if (::pipe(ends) != 0) return ErrnoToStatus(errno, "pipe");
  UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addclose(&actions, out.get());
  std::array<std::string, 4> words = {"xz", "-dc", "--", path};
  std::array<char*, 5> argv = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                               nullptr};
  pid_t pid = 0;
  const int rc = ::posix_spawnp(&pid, "xz", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (rc != 0) return ErrnoToStatus(rc, "xz");
  in.Reset();
  auto text = ReadAll(out.get());
  out.Reset();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (text.ok() && status != 0) return BadFile(path, "xz cannot read it");
  return text;
}

absl::StatusOr<std::string> ReadRecording(const std::string& path) {
  if (absl::EndsWith(path, ".xz")) return Decompress(path);
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return Annotate(ErrnoToStatus(errno, "open"), path);
  return ReadAll(::fileno(file.get()));
}

Values ToValues(const YAML::Node& node) {
  Values values;
  for (const auto& member : node) {
    values.Set(member.first.Scalar(), member.second.Scalar());
  }
  return values;
}

void ParseHeader(const YAML::Node& node, Recording* recording) {
  recording->level = node["level"].as<std::string>();
  recording->page_size = node["page"].as<uint64_t>();
  recording->devices = node["ndev"].as<int>();
  for (const auto& memfd : node["memfds"]) {
    recording->memfd_huge.push_back(memfd["kind"].as<std::string>() == "hugetlb");
    recording->memfd_sizes.push_back(memfd["size"].as<uint64_t>());
  }
}

Step ParseStep(const YAML::Node& node, const std::string& line) {
  Step step;
  step.number = node["i"].as<uint64_t>();
  step.op = node["op"].as<std::string>();
  step.args = ToValues(node["args"]);
  step.rc = node["rc"].as<int64_t>();
  step.out = ToValues(node["out"]);
  step.undefined = node["nd"].IsDefined();
  step.line = line;
  return step;
}

}  // namespace

uint64_t Values::Unsigned(const std::string& key) const {
  // Negative where a signed value of the caller stands in an unsigned field.
  const std::string text = Text(key);
  return text.starts_with('-') ? static_cast<uint64_t>(ParseNumber<int64_t>(text))
                               : ParseNumber<uint64_t>(text);
}

int64_t Values::Signed(const std::string& key) const { return ParseNumber<int64_t>(Text(key)); }

std::string Values::Text(const std::string& key) const {
  const auto found = values_.find(key);
  return found != values_.end() ? found->second : std::string();
}

std::vector<std::byte> Values::Bytes(const std::string& key) const {
  const std::string text = Text(key);
  std::vector<std::byte> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint8_t value = 0;
    std::from_chars(&text[2 * i], &text[2 * i] + 2, value, 16);
    bytes[i] = std::byte{value};
  }
  return bytes;
}

std::string ToHex(const void* data, size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto* bytes = static_cast<const uint8_t*>(data);
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

absl::StatusOr<Recording> LoadRecording(const std::string& path, size_t limit) {
  BERTH_ASSIGN_OR_RETURN(const std::string text, ReadRecording(path));
  Recording recording;
  recording.path = path;
  try {
    const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    for (const std::string& line : lines) {
      // The format is JSON, one object a line, which is YAML.
      const YAML::Node node = YAML::Load(line);
      if (recording.level.empty()) {
        if (node["format"].as<int>(0) != 1) return BadFile(path, "not a recording of format 1");
        ParseHeader(node, &recording);
        continue;
      }
      if (recording.steps.size() == limit) break;
      recording.steps.push_back(ParseStep(node, line));
    }
  } catch (const YAML::Exception& error) {
    return BadFile(path, error.what());
  }
  if (recording.steps.empty()) return BadFile(path, "no steps");
  return recording;
}

}  // namespace berth::oracle
