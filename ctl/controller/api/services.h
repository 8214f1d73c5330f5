// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_API_SERVICES_H_
#define BERTH_CTL_CONTROLLER_API_SERVICES_H_

#include <memory>

#include "ctl/controller/audit/auditor.h"
#include "ctl/controller/book/assignment_book.h"
#include "ctl/controller/book/quota_book.h"
#include "ctl/controller/hosts/host_registry.h"
#include "ctl/controller/watch/watcher.h"
#include "lib/rpc/authorise.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace berth {

// The services of berth.v1. Everything pointed to outlives them. Thread-safe.
std::unique_ptr<grpc::Service> MakeAssignmentService(const Authoriser* authoriser,
                                                     AssignmentBook* book, WatchSource* watches);
std::unique_ptr<grpc::Service> MakeHostService(const Authoriser* authoriser, HostRegistry* registry,
                                               WatchSource* watches);
std::unique_ptr<grpc::Service> MakeCapacityService(const Authoriser* authoriser, Fleet* fleet);
std::unique_ptr<grpc::Service> MakeAuditService(const Authoriser* authoriser, Auditor* auditor);
std::unique_ptr<grpc::Service> MakeQuotaService(const Authoriser* authoriser, QuotaBook* book);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_API_SERVICES_H_
