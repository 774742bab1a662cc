// A bounded walk over a small XML document: expat (included by xml_walk.cpp only) behind three callbacks.
//
// Documents come from outside: no document type and so no entities, limits on size and depth. The visitor sees elements
// in document order; text comes in pieces.

#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "platform/result.h"

namespace nodemeter {

inline constexpr std::size_t kXmlBytesMax = 1u << 20;  // libvirt's largest definitions are some 100 KiB.
inline constexpr std::size_t kXmlDepthMax = 64;

// Attribute names and values, valid during the callback.
class XmlAttributes {
 public:
  explicit XmlAttributes(const char** pairs) : pairs_(pairs) {}
  // Empty if there is none: no attribute read here tells "empty" from "absent".
  [[nodiscard]] std::string_view get(std::string_view name) const;

 private:
  const char** pairs_;
};

class XmlVisitor {
 public:
  XmlVisitor() = default;
  XmlVisitor(const XmlVisitor&) = delete;
  XmlVisitor& operator=(const XmlVisitor&) = delete;
  virtual ~XmlVisitor() = default;
  // `path`: the names from the root down to this element, which is the last. Valid during the callback.
  virtual void open(const std::vector<std::string_view>& path, const XmlAttributes& attributes) = 0;
  virtual void text(const std::vector<std::string_view>& path, std::string_view piece) = 0;
  virtual void close(const std::vector<std::string_view>& path) = 0;
};

// With `namespaces`, a name is "URI local" with one blank between; otherwise as written, prefix and all.
// kCorrupt: not well-formed, or has a document type; the message has the line. kLimitExceeded: too large or too deep.
// On failure the visitor has seen the part before.
Status walk_xml(std::string_view xml, bool namespaces, XmlVisitor& visitor);

}  // namespace nodemeter
