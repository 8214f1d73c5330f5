// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_EVICTION_H_
#define BERTH_CTL_CONTROLLER_BOOK_EVICTION_H_

#include "berth/internal/v1/records.pb.h"
#include "berth/v1/assignment.pb.h"
#include "ctl/controller/book/fleet.h"

namespace berth {

// Why and when an assignment that is placed on a host is asked to leave it, where `host` is what
// the host's record is, or is about to be.
Fleet::Eviction EvictionFrom(const v1::Assignment& assignment,
                             const internal::v1::HostRecord& host);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_EVICTION_H_
