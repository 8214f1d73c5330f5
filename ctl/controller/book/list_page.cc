// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/list_page.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/rpc/limits.h"
#include "lib/rpc/request.h"

namespace berth {
namespace {

// Neither ids nor watch tokens contain it.
constexpr char kSeparator = '|';
// Well below what a message may have, tokens and framing included.
constexpr size_t kMaxPageBytes = kMaxRpcMessageBytes / 2;

}  // namespace

absl::StatusOr<ListPage> ListPage::Start(const std::string& query, int32_t page_size,
                                         const std::string& page_token,
                                         const std::string& watch_token) {
  ListPage page;
  page.query_ = query;
  page.watch_token_ = watch_token;
  BERTH_ASSIGN_OR_RETURN(page.left_, PageSize(page_size));
  if (page_token.empty()) return page;
  BERTH_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(query, page_token));
  const size_t separator = position.find(kSeparator);
  if (separator == std::string::npos) {
    return Error(Reason::kInvalidPageToken,
                 "page_token: is not one of this list; begin without one");
  }
  page.watch_token_ = position.substr(0, separator);
  page.after_ = position.substr(separator + 1);
  return page;
}

bool ListPage::Take(const std::string& id, size_t bytes) {
  if (left_ == 0 || (bytes_ > 0 && bytes_ + bytes > kMaxPageBytes)) return false;
  --left_;
  bytes_ += bytes;
  last_ = id;
  return true;
}

std::string ListPage::NextToken() const {
  return EncodePageToken(query_, absl::StrCat(watch_token_, std::string(1, kSeparator), last_));
}

bool MatchesLabels(const Labels& selector, const Labels& labels) {
  return std::all_of(selector.begin(), selector.end(), [&labels](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

std::string LabelSelectorKey(const Labels& selector) {
  const std::map<std::string, std::string> sorted(selector.begin(), selector.end());
  std::string key;
  for (const auto& [name, value] : sorted) {
    absl::StrAppend(&key, name.size(), ":", name, "=", value.size(), ":", value, ";");
  }
  return key;
}

}  // namespace berth
