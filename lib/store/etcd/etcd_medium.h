// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_ETCD_MEDIUM_H_
#define BERTH_LIB_STORE_ETCD_ETCD_MEDIUM_H_

#include <memory>

#include "lib/store/etcd/etcd_store.h"
#include "lib/store/medium.h"

namespace berth {

// The store below the prefix of `options`, whose clock outlives it. Write() leads meanwhile, so
// that no controller can; what it replaces is gone. When it is interrupted nobody can open the
// store until Write() has been done again with kReplace.
std::unique_ptr<StoreMedium> EtcdMedium(EtcdStoreOptions options);

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_ETCD_MEDIUM_H_
