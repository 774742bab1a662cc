// The section of a configuration that says where batches go and how: [upload] of the agent, [forward] of the
// aggregator.

#pragma once

#include "platform/config_text.h"
#include "uploader/carrier.h"
#include "uploader/curl_transport.h"

namespace nodemeter {

inline const ConfigWords kUploadKeys = {
    "url",        "receipt_key", "interval",    "compression",     "ca_file",
    "cert_file",  "key_file",    "bearer_file", "clickhouse_user", "clickhouse_key_file",
    "rate_limit", "plaintext",   "proxy",       "proxy_auth_file", "connect_timeout",
    "timeout"};

// `interval`: at most this long from an hour's close to the first send. `carry`: where a file:// URL goes instead of
// into `upload`; null: a file:// URL is a fault.
void read_upload_section(ConfigSection section, CurlOptions& upload, Milliseconds& interval,
                         CarryTarget* carry = nullptr);

}  // namespace nodemeter
