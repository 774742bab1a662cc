#include "uploader/aggregator/server_tls.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>

#include "platform/text.h"

namespace nodemeter {
namespace {

// Where a connection notes that its client certificate was not accepted.
int refused_certificate_slot() {
  static const int slot = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return slot;
}

// Lets the handshake finish whatever the certificate is: the alert that ends it mostly gets lost in a reset, and its
// sender would take that for weather. An answer with 401 arrives, and an operator reads it.
int note_certificate(int good, X509_STORE_CTX* chain) {
  if (good == 1) return 1;
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  static char refused = 1;
  return ssl != nullptr && SSL_set_ex_data(ssl, refused_certificate_slot(), &refused) == 1 ? 1 : 0;
}

}  // namespace

std::vector<std::string> certificate_names(const SSL* ssl) {
  std::vector<std::string> names;
  if (ssl == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return names;
  if (SSL_get_ex_data(ssl, refused_certificate_slot()) != nullptr) return names;
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl), &X509_free);
  if (!certificate) return names;
  const auto add = [&](const ASN1_STRING* text) {
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, text);
    if (size < 0) return;
    const std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    // "node-1\0.example.org" is a name that means different things to different readers.
    if (is_plain_text(name)) names.push_back(name);
  };
  const X509_NAME* const subject = X509_get_subject_name(certificate.get());
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) add(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  auto* const others =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; others != nullptr && i < sk_GENERAL_NAME_num(others); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(others, i);
    if (name->type == GEN_DNS) add(name->d.dNSName);
  }
  GENERAL_NAMES_free(others);
  return names;
}

std::string set_up_tls(SSL_CTX& context, const ServerOptions& options) {
  SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
  // No resumed sessions: every connection shows its certificate anew.
  SSL_CTX_set_options(&context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(&context, 0);
  if (SSL_CTX_use_certificate_chain_file(&context, options.cert_file.c_str()) != 1) {
    return "cert_file " + options.cert_file + " is not a readable PEM certificate";
  }
  if (SSL_CTX_use_PrivateKey_file(&context, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(&context) != 1) {
    return "key_file " + options.key_file + " is not the readable PEM key of cert_file";
  }
  if (options.client_ca_file.empty()) return "";
  if (SSL_CTX_load_verify_locations(&context, options.client_ca_file.c_str(), nullptr) != 1) {
    return "client_ca_file " + options.client_ca_file + " is not a readable PEM certificate";
  }
  SSL_CTX_set_client_CA_list(&context, SSL_load_client_CA_file(options.client_ca_file.c_str()));
  SSL_CTX_set_verify(&context, SSL_VERIFY_PEER, &note_certificate);
  return "";
}

}  // namespace nodemeter
