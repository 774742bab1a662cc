#include "collectors/xml_walk.h"

#include <expat.h>

#include <memory>
#include <string>

namespace nodemeter {

namespace {

struct Walk {
  XML_Parser parser;
  XmlVisitor& visitor;
  std::vector<std::string> names;
  std::vector<std::string_view> path;
  bool too_deep = false;
  bool document_type = false;
};

void XMLCALL on_open(void* user, const XML_Char* name, const XML_Char** attributes) {
  Walk& walk = *static_cast<Walk*>(user);
  if (walk.path.size() == kXmlDepthMax) {
    walk.too_deep = true;
    XML_StopParser(walk.parser, XML_FALSE);
    return;
  }
  // Names live in slots that are reused; the slots never move, so the views into them hold.
  std::string& slot = walk.names[walk.path.size()];
  slot = name;
  walk.path.emplace_back(slot);
  walk.visitor.open(walk.path, XmlAttributes(attributes));
}

void XMLCALL on_close(void* user, const XML_Char*) {
  Walk& walk = *static_cast<Walk*>(user);
  if (walk.path.empty()) return;  // expat reports the end of an element whose beginning stopped the walk.
  walk.visitor.close(walk.path);
  walk.path.pop_back();
}

void XMLCALL on_text(void* user, const XML_Char* piece, int length) {
  Walk& walk = *static_cast<Walk*>(user);
  walk.visitor.text(walk.path, std::string_view(piece, static_cast<std::size_t>(length)));
}

void XMLCALL on_document_type(void* user, const XML_Char*, const XML_Char*, const XML_Char*, int) {
  Walk& walk = *static_cast<Walk*>(user);
  walk.document_type = true;
  XML_StopParser(walk.parser, XML_FALSE);
}

struct FreeParser {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

}  // namespace

std::string_view XmlAttributes::get(std::string_view name) const {
  for (const char** pair = pairs_; *pair != nullptr; pair += 2) {
    if (name == pair[0]) return pair[1];
  }
  return {};
}

Status walk_xml(std::string_view xml, bool namespaces, XmlVisitor& visitor) {
  if (xml.size() > kXmlBytesMax) {
    return Error{ErrorCode::kLimitExceeded, "XML of " + std::to_string(xml.size()) + " bytes"};
  }
  const std::unique_ptr<std::remove_pointer_t<XML_Parser>, FreeParser> parser(
      namespaces ? XML_ParserCreateNS("UTF-8", ' ') : XML_ParserCreate("UTF-8"));
  NM_ASSERT(parser != nullptr);
  Walk walk{parser.get(), visitor, std::vector<std::string>(kXmlDepthMax), {}, false, false};
  XML_SetUserData(parser.get(), &walk);
  XML_SetElementHandler(parser.get(), on_open, on_close);
  XML_SetCharacterDataHandler(parser.get(), on_text);
  XML_SetStartDoctypeDeclHandler(parser.get(), on_document_type);
  const XML_Status status = XML_Parse(parser.get(), xml.data(), static_cast<int>(xml.size()), XML_TRUE);
  if (walk.too_deep) return Error{ErrorCode::kLimitExceeded, "XML deeper than " + std::to_string(kXmlDepthMax)};
  if (walk.document_type) return Error{ErrorCode::kCorrupt, "XML with a document type"};
  if (status != XML_STATUS_OK) {
    return Error{ErrorCode::kCorrupt, "XML line " + std::to_string(XML_GetCurrentLineNumber(parser.get())) + ": " +
                                          XML_ErrorString(XML_GetErrorCode(parser.get()))};
  }
  return Done{};
}

}  // namespace nodemeter
