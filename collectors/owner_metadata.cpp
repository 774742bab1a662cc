#include "collectors/owner_metadata.h"

#include <algorithm>
#include <string>

#include "collectors/xml_walk.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

using Path = std::vector<std::string_view>;

constexpr std::string_view kOwner = "urn:nodemeter:owner:1 owner";
constexpr std::string_view kTag = "urn:nodemeter:owner:1 tag";
constexpr std::string_view kNovaNamespaces[] = {"http://openstack.org/xmlns/libvirt/nova/1.0 ",
                                                "http://openstack.org/xmlns/libvirt/nova/1.1 "};

// The local name of an element in one of Nova's namespaces, else empty.
std::string_view nova_name(std::string_view name) {
  for (const std::string_view prefix : kNovaNamespaces) {
    if (name.substr(0, prefix.size()) == prefix) return name.substr(prefix.size());
  }
  return {};
}

bool is_nova(const Path& path, std::initializer_list<std::string_view> below_metadata) {
  if (path.size() != 2 + below_metadata.size()) return false;
  return std::equal(path.begin() + 2, path.end(), below_metadata.begin(),
                    [](std::string_view element, std::string_view wanted) { return nova_name(element) == wanted; });
}

std::string accepted(std::string_view text, std::size_t size_max) {
  return text.size() <= size_max && is_plain_text(text) ? std::string(text) : std::string();
}

bool flag(std::string_view text, bool otherwise) {
  if (text == "yes" || text == "true" || text == "1") return true;
  if (text == "no" || text == "false" || text == "0") return false;
  return otherwise;
}

Uuid project_uuid(std::string_view id) {
  std::string dashed(id);
  if (id.size() == 32) {
    for (const std::size_t position : {8u, 13u, 18u, 23u}) dashed.insert(position, 1, '-');
  }
  if (const std::optional<Uuid> uuid = Uuid::parse(dashed)) return *uuid;
  return uuid_from_name(nova_project_namespace(), id);
}

class OwnerVisitor final : public XmlVisitor {
 public:
  void open(const Path& path, const XmlAttributes& attributes) override {
    if (!in_metadata(path)) return;
    text_.clear();
    text_size_ = 0;
    if (path.size() == 3 && path[2] == kOwner && !own_seen_) own_element(attributes);
    if (path.size() == 4 && path[2] == kOwner && path[3] == kTag) tag_ = attributes.get("name");
    if (is_nova(path, {"instance", "owner", "project"}) && !nova_.known) {
      const std::string id = accepted(attributes.get("uuid"), kOwnerNameMax);
      if (!id.empty()) {
        nova_.subscription = nova_.tenant = project_uuid(id);
        nova_.known = !nova_.subscription.is_zero();
      }
    }
  }

  void text(const Path& path, std::string_view piece) override {
    if (!in_metadata(path)) return;
    text_size_ += piece.size();
    if (text_size_ <= kOwnerTagValueMax) text_ += piece;
  }

  void close(const Path& path) override {
    if (!in_metadata(path)) return;
    if (path.size() == 3 && path[2] == kOwner) own_seen_ = true;
    if (path.size() == 4 && path[2] == kOwner && path[3] == kTag && !own_seen_) own_tag();
    if (is_nova(path, {"instance", "name"}) && nova_.name.empty() && text_size_ <= kOwnerNameMax) {
      nova_.name = accepted(text_, kOwnerNameMax);
    }
  }

  Owner finish() {
    if (own_.known) return std::move(own_);
    if (nova_.known) return std::move(nova_);
    return Owner{};
  }

 private:
  static bool in_metadata(const Path& path) { return path.size() >= 3 && path[0] == "domain" && path[1] == "metadata"; }

  void own_element(const XmlAttributes& attributes) {
    const std::optional<Uuid> subscription = Uuid::parse(attributes.get("subscription"));
    own_.known = subscription && !subscription->is_zero();
    if (!own_.known) return;
    own_.subscription = *subscription;
    own_.tenant = Uuid::parse(attributes.get("tenant")).value_or(Uuid{});
    own_.resource_group = accepted(attributes.get("resource-group"), kOwnerNameMax);
    own_.name = accepted(attributes.get("name"), kOwnerNameMax);
    own_.windows_licence = flag(attributes.get("windows-licence"), false);
    own_.billable = flag(attributes.get("billable"), true);
  }

  void own_tag() {
    const std::string name = accepted(tag_, kOwnerNameMax);
    const bool fits = text_size_ <= kOwnerTagValueMax && is_plain_text(text_) && own_.tags.size() < kOwnerTagsMax;
    if (!name.empty() && fits) own_.tags.emplace(name, text_);
  }

  Owner own_, nova_;
  bool own_seen_ = false;
  std::string tag_, text_;
  std::size_t text_size_ = 0;
};

}  // namespace

Uuid nova_project_namespace() { return uuid_from_name(Uuid{}, "urn:nodemeter:nova-project"); }

Owner parse_owner_metadata(std::string_view domain_xml) {
  OwnerVisitor visitor;
  // Half a document is no proof of whose VM this is.
  if (!walk_xml(domain_xml, true, visitor)) return Owner{};
  return visitor.finish();
}

}  // namespace nodemeter
