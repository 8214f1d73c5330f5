// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_RPC_CERTIFICATES_H_
#define BERTH_TESTS_RPC_CERTIFICATES_H_

#include <memory>
#include <string>

#include "lib/rpc/credentials.h"

namespace berth {

// A fresh folder with a certificate authority; removed with the object.
class TestAuthority {
 public:
  TestAuthority();
  ~TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  // Writes NAME.pem and NAME.key, signed by this authority. `alternative_names` as OpenSSL spells
  // them: "DNS:localhost,IP:127.0.0.1,URI:spiffe://fleet/agent/h1".
  TlsOptions Issue(const std::string& name, const std::string& alternative_names) const;

  const std::string& folder() const { return folder_; }
  std::string ca_file() const { return folder_ + "/ca.pem"; }

 private:
  struct Pair;
  std::string folder_;
  std::unique_ptr<Pair> ca_;
};

}  // namespace berth

#endif  // BERTH_TESTS_RPC_CERTIFICATES_H_
