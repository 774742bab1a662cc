#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include "agent/cli/pem_text.h"

namespace nodemeter::cli {

namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio open_text(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// Nobody is there to type one.
int no_pass_phrase(char*, int, int, void*) { return 0; }

Certificate next_certificate(const Bio& in) {
  return {in ? PEM_read_bio_X509(in.get(), nullptr, &no_pass_phrase, nullptr) : nullptr, &X509_free};
}

UtcTime instant(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return {};
  using namespace std::chrono;
  const year_month_day date{year{parts.tm_year + 1900}, month{static_cast<unsigned>(parts.tm_mon + 1)},
                            day{static_cast<unsigned>(parts.tm_mday)}};
  return UtcTime{sys_days{date}} + hours{parts.tm_hour} + minutes{parts.tm_min} + seconds{parts.tm_sec};
}

std::string subject_of(X509* certificate) {
  const Bio out(BIO_new(BIO_s_mem()), &BIO_free);
  if (!out || X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0) return "";
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "";
}

}  // namespace

// There is none.
Result<std::optional<CertificateFacts>> certificate_in_store(const std::filesystem::path&) { return {std::nullopt}; }

std::vector<CertificateFacts> certificates_in(const std::string& pem) {
  const Bio in = open_text(pem);
  std::vector<CertificateFacts> found;
  while (const Certificate one = next_certificate(in)) {
    found.push_back(
        {subject_of(one.get()), instant(X509_get0_notBefore(one.get())), instant(X509_get0_notAfter(one.get()))});
  }
  ERR_clear_error();
  return found;
}

KeyMatch match_key(const std::string& certificate_pem, const std::string& key_pem) {
  const Certificate certificate = next_certificate(open_text(certificate_pem));
  const Bio in = open_text(key_pem);
  const Key key(in ? PEM_read_bio_PrivateKey(in.get(), nullptr, &no_pass_phrase, nullptr) : nullptr, &EVP_PKEY_free);
  const bool same = certificate && key && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!certificate) return KeyMatch::kNoCertificate;
  if (!key) return KeyMatch::kNoKey;
  return same ? KeyMatch::kSame : KeyMatch::kOther;
}

}  // namespace nodemeter::cli
