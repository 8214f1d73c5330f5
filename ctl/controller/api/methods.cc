// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/api/methods.h"

namespace berth {

AuthorisationPolicy ControllerPolicy() {
  AuthorisationPolicy policy;
  policy.methods = {
      {"/berth.v1.AssignmentService/CreateAssignment", Role::kUser},
      {"/berth.v1.AssignmentService/BatchCreateAssignments", Role::kUser},
      {"/berth.v1.AssignmentService/GetAssignment", Role::kViewer},
      {"/berth.v1.AssignmentService/ListAssignments", Role::kViewer},
      {"/berth.v1.AssignmentService/WatchAssignments", Role::kViewer},
      {"/berth.v1.AssignmentService/UpdateAssignment", Role::kUser},
      {"/berth.v1.AssignmentService/DeleteAssignment", Role::kUser},
      {"/berth.v1.AssignmentService/RenewAssignment", Role::kUser},
      {"/berth.v1.AssignmentService/RotateToken", Role::kUser},
      {"/berth.v1.AssignmentService/ExplainPlacement", Role::kViewer},
      {"/berth.v1.HostService/GetHost", Role::kViewer},
      {"/berth.v1.HostService/ListHosts", Role::kViewer},
      {"/berth.v1.HostService/WatchHosts", Role::kViewer},
      {"/berth.v1.HostService/UpdateHost", Role::kOperator},
      {"/berth.v1.HostService/CordonHost", Role::kOperator},
      {"/berth.v1.HostService/UncordonHost", Role::kOperator},
      {"/berth.v1.HostService/DrainHost", Role::kOperator},
      {"/berth.v1.HostService/DeleteHost", Role::kOperator},
      {"/berth.v1.AuditService/Audit", Role::kOperator},
      {"/berth.v1.CapacityService/GetCapacity", Role::kViewer},
      {"/berth.v1.QuotaService/GetQuota", Role::kViewer},
      {"/berth.v1.QuotaService/ListQuotas", Role::kViewer},
      {"/berth.v1.QuotaService/UpdateQuota", Role::kOperator},
      {"/berth.v1.QuotaService/DeleteQuota", Role::kOperator},
  };
  return policy;
}

}  // namespace berth
