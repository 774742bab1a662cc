// The libvirt (KVM, QEMU) source. libvirt.h is included by libvirt_source.cpp only; all else is in libvirt_sampler.h.

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "collectors/libvirt_connection.h"
#include "collectors/source.h"
#include "platform/log.h"

namespace nodemeter {

struct LibvirtOptions {
  SourceOptions source;
  std::string uri = "qemu:///system";  // Opened read-only.
  std::function<void()> on_urgency;    // Called from libvirt's event thread when take_urgency() turns true.
  std::filesystem::path proc_root = "/proc";
};

// Succeeds while libvirt is still starting: it connects in the background, and again whenever the connection breaks.
//
// Starts a few threads, among them libvirt's event loop, one per process and for as long as that lives: libvirt has no
// way to end it. The caller owns the result; `clock` and `log` must outlive it.
std::unique_ptr<Source> open_libvirt_source(const LibvirtOptions& options, const Clock& clock, Log& log);

// The connection behind it, for tests.
LibvirtConnector libvirt_connector(std::string uri);

}  // namespace nodemeter
