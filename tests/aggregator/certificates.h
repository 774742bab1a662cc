// Certificates for one test run, made with the openssl command: valid for minutes, known to nobody else.

#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "platform/files.h"
#include "tests/temporary_directory.h"

namespace nodemeter::testing {

class Certificates {
 public:
  Certificates() {
    authority("ca");
    authority("other-ca");
    leaf("server", "ca", "localhost", "DNS:localhost,IP:127.0.0.1", "-days 2");
    leaf("wrong-host", "ca", "elsewhere.example.org", "DNS:elsewhere.example.org", "-days 2");
    leaf("expired", "ca", "localhost", "DNS:localhost,IP:127.0.0.1", "-days -1");
    future("not-yet-valid", "ca", "localhost", "DNS:localhost,IP:127.0.0.1");
    leaf("stranger", "other-ca", "localhost", "DNS:localhost,IP:127.0.0.1", "-days 2");
    leaf("node-1", "ca", "node-1", "DNS:node-1.example.org", "-days 2");
    leaf("node-2", "ca", "node-2", "DNS:node-2.example.org", "-days 2");
    leaf("false-node-1", "other-ca", "node-1", "DNS:node-1.example.org", "-days 2");
  }
  [[nodiscard]] std::string cert(const std::string& name) const { return directory_.file(name + ".pem"); }
  [[nodiscard]] std::string key(const std::string& name) const { return directory_.file(name + ".key"); }

 private:
  void run(const std::string& command) {
    const std::string whole = "cd '" + directory_.path().string() + "' && openssl " + command + " >log 2>&1";
    if (std::system(whole.c_str()) != 0) throw std::runtime_error("openssl " + command);
  }
  void authority(const std::string& name) {
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout " + name + ".key -out " + name +
        ".pem -days 2 -subj '/CN=" + name + "'");
  }
  void leaf(const std::string& name, const std::string& issuer, const std::string& subject, const std::string& names,
            const std::string& validity) {
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout " + name + ".key -out " + name +
        ".csr -subj '/CN=" + subject + "'");
    if (!replace_file(directory_.file(name + ".ext"), "subjectAltName=" + names + "\n").ok()) std::abort();
    run("x509 -req -in " + name + ".csr -CA " + issuer + ".pem -CAkey " + issuer + ".key -CAcreateserial -out " + name +
        ".pem -extfile " + name + ".ext " + validity);
  }
  // Valid in days that have not come. Only `openssl ca` sets the first of them.
  void future(const std::string& name, const std::string& issuer, const std::string& subject,
              const std::string& names) {
    leaf(name, issuer, subject, names, "-days 2");
    const std::string configuration =
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
        "[p]\ncommonName=supplied\n";
    if (!replace_file(directory_.file("ca.conf"), configuration).ok()) std::abort();
    if (!replace_file(directory_.file("index"), "").ok()) std::abort();
    run("ca -batch -notext -config ca.conf -in " + name + ".csr -cert " + issuer + ".pem -keyfile " + issuer +
        ".key -startdate 20980101000000Z -enddate 20990101000000Z -extfile " + name + ".ext -out " + name + ".pem");
  }
  TemporaryDirectory directory_;
};

}  // namespace nodemeter::testing
