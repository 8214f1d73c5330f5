// SPDX-License-Identifier: Apache-2.0
//
// Pages of lists that are sorted by id.
#ifndef BERTH_CTL_CONTROLLER_BOOK_LIST_PAGE_H_
#define BERTH_CTL_CONTROLLER_BOOK_LIST_PAGE_H_

#include <google/protobuf/map.h>

#include <string>

#include "absl/status/statusor.h"

namespace berth {

// One page: which ids go on it, and the token of the next one. All pages carry the watch token of
// the first, so that a watch from it misses nothing that changed while the pages were read.
class ListPage {
 public:
  // Errors: INVALID_FIELD (page_size), INVALID_PAGE_TOKEN.
  static absl::StatusOr<ListPage> Start(const std::string& query, int32_t page_size,
                                        const std::string& page_token,
                                        const std::string& watch_token);

  // Ids greater than this one are on this page or later ones.
  const std::string& after() const { return after_; }
  const std::string& watch_token() const { return watch_token_; }
  // False when the page is full, by number or because `bytes` more would not fit a message: `id`
  // belongs to the next one. A page has one entry at least.
  bool Take(const std::string& id, size_t bytes);
  std::string NextToken() const;

 private:
  std::string query_;
  std::string after_;
  std::string watch_token_;
  std::string last_;
  int left_ = 0;
  size_t bytes_ = 0;
};

using Labels = google::protobuf::Map<std::string, std::string>;

// Whether `labels` has every pair of `selector`.
bool MatchesLabels(const Labels& selector, const Labels& labels);
// The same text for equal selectors.
std::string LabelSelectorKey(const Labels& selector);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_LIST_PAGE_H_
