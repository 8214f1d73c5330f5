// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_MEDIUM_H_
#define BERTH_LIB_STORE_SQLITE_MEDIUM_H_

#include <memory>
#include <string>

#include "lib/store/medium.h"

namespace berth {

// The store in the SQLite file `path` (sqlite_store.h). Write() makes it under another name, and
// takes it into place when it is durable; what it replaces is kept as PATH.replaced, until the next
// time.
std::unique_ptr<StoreMedium> SqliteMedium(std::string path);

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_MEDIUM_H_
