// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_API_METHODS_H_
#define BERTH_CTL_CONTROLLER_API_METHODS_H_

#include "lib/rpc/authorise.h"

namespace berth {

// Which role each method of the controller needs. A test compares it with the services'
// descriptors: a method without a row is refused to everybody.
AuthorisationPolicy ControllerPolicy();

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_API_METHODS_H_
