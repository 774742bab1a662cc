#include "agent/cli/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

// A system's bundle of authorities is some 250 KiB.
constexpr std::size_t kPemBytesMax = 4u << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio open_text(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// Nobody is there to type one.
int no_pass_phrase(char*, int, int, void*) { return 0; }

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

Result<std::vector<CertificateFacts>> read_certificates(const std::filesystem::path& path) {
  const Result<std::string> text = read_file(path, kPemBytesMax);
  if (!text) return text.error();
  const Bio in = open_text(*text);
  std::vector<CertificateFacts> found;
  while (in) {
    const Certificate one(PEM_read_bio_X509(in.get(), nullptr, &no_pass_phrase, nullptr), &X509_free);
    if (!one) break;
    found.push_back(
        {subject_of(one.get()), instant(X509_get0_notBefore(one.get())), instant(X509_get0_notAfter(one.get()))});
  }
  ERR_clear_error();
  if (found.empty()) return Error{ErrorCode::kInvalidInput, path.string() + " holds no PEM certificate"};
  return found;
}

Status check_key_of(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  const Result<std::string> certificate_text = read_file(certificate, kPemBytesMax);
  if (!certificate_text) return certificate_text.error();
  const Result<std::string> key_text = read_file(key, kPemBytesMax);
  if (!key_text) return key_text.error();
  const Bio certificate_in = open_text(*certificate_text);
  const Bio key_in = open_text(*key_text);
  if (!certificate_in || !key_in) return Error{ErrorCode::kUnavailable, "no memory for a certificate"};
  const Certificate of(PEM_read_bio_X509(certificate_in.get(), nullptr, &no_pass_phrase, nullptr), &X509_free);
  const Key secret(PEM_read_bio_PrivateKey(key_in.get(), nullptr, &no_pass_phrase, nullptr), &EVP_PKEY_free);
  const bool matches = of && secret && X509_check_private_key(of.get(), secret.get()) == 1;
  ERR_clear_error();
  if (!of) return Error{ErrorCode::kInvalidInput, certificate.string() + " holds no PEM certificate"};
  if (!secret) {
    return Error{ErrorCode::kInvalidInput, key.string() + " holds no PEM key that can be read without a pass phrase"};
  }
  if (!matches) return Error{ErrorCode::kInvalidInput, key.string() + " is not the key of " + certificate.string()};
  return Done{};
}

}  // namespace nodemeter::cli
