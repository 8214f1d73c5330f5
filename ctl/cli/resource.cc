// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/resource.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "ctl/cli/failure.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

const ResourceType* FindType(std::string_view word) {
  for (const ResourceType* type : ResourceTypes()) {
    const std::vector<std::string_view> aliases = type->aliases();
    if (word == type->singular() || word == type->collection() ||
        std::find(aliases.begin(), aliases.end(), word) != aliases.end()) {
      return type;
    }
  }
  return nullptr;
}

absl::StatusOr<const ResourceType*> TypeOf(std::string_view word) {
  if (const ResourceType* type = FindType(word); type != nullptr) return type;
  return UsageError(absl::StrCat("\"", AbslView(word),
                                 "\" is no type of resource: assignment (asg, a) or host (ho)"));
}

absl::StatusOr<Target> ParsePath(const std::string& word) {
  const size_t slash = word.find('/');
  if (slash == std::string::npos) {
    return UsageError(absl::StrCat("\"", word, "\": all arguments are TYPE/NAME when one is"));
  }
  BERTH_ASSIGN_OR_RETURN(const ResourceType* const type, TypeOf(word.substr(0, slash)));
  BERTH_ASSIGN_OR_RETURN(std::string name, FullName(*type, word));
  return Target{.type = type, .name = std::move(name)};
}

}  // namespace

absl::Span<const ResourceType* const> ResourceTypes() {
  static const ResourceType* const kTypes[] = {&AssignmentType(), &HostType()};
  return kTypes;
}

std::string LabelOf(const ResourceType& type, std::string_view full_name) {
  const size_t slash = full_name.find('/');
  const std::string_view id =
      slash == std::string_view::npos ? full_name : full_name.substr(slash + 1);
  return absl::StrCat(AbslView(type.singular()), "/", AbslView(id));
}

std::string Target::Label() const { return LabelOf(*type, name); }

absl::StatusOr<std::string> FullName(const ResourceType& type, std::string_view name) {
  std::string_view id = name;
  if (const size_t slash = name.find('/'); slash != std::string_view::npos) {
    if (FindType(name.substr(0, slash)) != &type) {
      return UsageError(absl::StrCat("\"", AbslView(name), "\" is not the name of a ",
                                     AbslView(type.singular())));
    }
    id = name.substr(slash + 1);
  }
  if (id.empty() || id.find('/') != std::string_view::npos) {
    return UsageError(absl::StrCat("\"", AbslView(name), "\" is not a name"));
  }
  return absl::StrCat(AbslView(type.collection()), "/", AbslView(id));
}

absl::StatusOr<std::vector<Target>> ParseTargets(absl::Span<const std::string> words) {
  if (words.empty()) return UsageError("name a type: assignment (asg, a) or host (ho)");
  std::vector<Target> targets;
  if (words[0].find('/') != std::string::npos) {
    for (const std::string& word : words) {
      BERTH_ASSIGN_OR_RETURN(Target target, ParsePath(word));
      targets.push_back(std::move(target));
    }
    return targets;
  }
  for (const std::string& type_word : std::vector<std::string>(absl::StrSplit(words[0], ','))) {
    BERTH_ASSIGN_OR_RETURN(const ResourceType* const type, TypeOf(type_word));
    if (words.size() == 1) targets.push_back({.type = type, .name = ""});
    for (const std::string& word : words.subspan(1)) {
      BERTH_ASSIGN_OR_RETURN(std::string name, FullName(*type, word));
      targets.push_back({.type = type, .name = std::move(name)});
    }
  }
  return targets;
}

absl::StatusOr<std::vector<Target>> ParseNamedTargets(absl::Span<const std::string> words) {
  auto targets = ParseTargets(words);
  if (targets.ok() && targets->front().name.empty()) {
    return UsageError(absl::StrCat("which ", AbslView(targets->front().type->singular()), "?"));
  }
  return targets;
}

}  // namespace berth::cli
