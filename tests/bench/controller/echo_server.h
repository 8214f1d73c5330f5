// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_ECHO_SERVER_H_
#define BERTH_TESTS_BENCH_CONTROLLER_ECHO_SERVER_H_

namespace berth::bench {

// What gRPC alone costs: takes the calls of AssignmentService that create and answers at once with
// messages of the same sizes as a controller's, on a free port. Prints "serving ADDRESS" and runs
// until the end of stdin. Returns an exit code.
int ServeEcho();

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_ECHO_SERVER_H_
