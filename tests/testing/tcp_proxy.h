// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_TCP_PROXY_H_
#define BERTH_TESTS_TESTING_TCP_PROXY_H_

#include <list>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/unique_fd.h"

namespace berth::testing {

// A network between a client and a server at "127.x.y.z:port" or "unix:/path", which can be cut:
// then bytes get stuck in both directions, and new connections come to nothing, without any error.
// Thread-safe.
class TcpProxy {
 public:
  // Listens at a port of `host`, an IPv4 address.
  explicit TcpProxy(const std::string& target, const std::string& host = "127.0.0.1");
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  // "HOST:PORT"
  [[nodiscard]] const std::string& address() const { return address_; }
  void Cut() { SetCut(true); }
  // What was stuck goes on.
  void Heal() { SetCut(false); }

 private:
  // Bytes that go one way: read from `from`, not yet written to `to`.
  struct Flow {
    int from = -1;
    int to = -1;
    std::string waiting = {};
    bool ended = false;
  };
  struct Connection {
    UniqueFd client;
    UniqueFd server;
    Flow there;
    Flow back;
  };

  void SetCut(bool cut);
  void Run();
  void Accept();
  // Invalid: nobody listens.
  [[nodiscard]] UniqueFd Dial() const;
  // False: the connection is over.
  static bool Move(Flow* flow);

  const std::string target_;
  std::string address_;
  UniqueFd listener_;
  UniqueFd wake_;                      // eventfd
  std::list<Connection> connections_;  // of the thread
  absl::Mutex mu_;
  bool cut_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_TCP_PROXY_H_
