// SPDX-License-Identifier: Apache-2.0
#include "tests/rpc/certificates.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

namespace berth {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};

template <typename T>
using Owned = std::unique_ptr<T, Free>;

void Must(bool ok) {
  if (!ok) std::abort();
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  Must(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

}  // namespace

struct TestAuthority::Pair {
  Owned<EVP_PKEY> key{EVP_EC_gen("P-256")};
  Owned<X509> certificate{X509_new()};

  // Everything but extensions and signature.
  void Fill(const std::string& name, X509* issuer) {
    static long serial = 1;
    X509* x = certificate.get();
    Must(X509_set_version(x, X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 24 * 3600);
    X509_set_pubkey(x, key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
  }

  void Write(const std::string& stem) const {
    const Owned<std::FILE> pem(std::fopen((stem + ".pem").c_str(), "w"));
    Must(pem != nullptr && PEM_write_X509(pem.get(), certificate.get()) == 1);
    const Owned<std::FILE> secret(std::fopen((stem + ".key").c_str(), "w"));
    Must(secret != nullptr &&
         PEM_write_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  }
};

TestAuthority::TestAuthority() : ca_(std::make_unique<Pair>()) {
  folder_ = testing::TempDir() + "berth-tls-XXXXXX";
  Must(mkdtemp(folder_.data()) != nullptr);
  X509* x = ca_->certificate.get();
  ca_->Fill("Test CA", x);
  AddExtension(x, x, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(x, x, NID_key_usage, "critical,keyCertSign");
  Must(X509_sign(x, ca_->key.get(), EVP_sha256()) > 0);
  ca_->Write(folder_ + "/ca");
}

TestAuthority::~TestAuthority() { std::filesystem::remove_all(folder_); }

TlsOptions TestAuthority::Issue(const std::string& name,
                                const std::string& alternative_names) const {
  Pair pair;
  X509* x = pair.certificate.get();
  pair.Fill(name, ca_->certificate.get());
  if (!alternative_names.empty()) {
    AddExtension(x, ca_->certificate.get(), NID_subject_alt_name, alternative_names);
  }
  Must(X509_sign(x, ca_->key.get(), EVP_sha256()) > 0);
  const std::string stem = folder_ + "/" + name;
  pair.Write(stem);
  return {stem + ".pem", stem + ".key", ca_file()};
}

}  // namespace berth
