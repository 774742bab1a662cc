// Whose VM a libvirt domain is, from the <metadata> of its definition. Pure and portable; the text comes from outside.
//
// Two formats, ours first where both are there:
//
//   <nm:owner xmlns:nm="urn:nodemeter:owner:1" subscription="UUID" tenant="UUID" resource-group="rg" name="web-1"
//             windows-licence="no" billable="yes"><nm:tag name="k">v</nm:tag></nm:owner>
//
//   <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.0"> (or 1.1), of which
//   nova:owner/nova:project's uuid is both subscription and tenant, and nova:name the name.
//
// Nova's project ids are UUIDs without dashes. Keystone back ends may use other texts: those map to a name-based UUID
// (version 5) within nova_project_namespace(), so that one project always is one subscription.

#pragma once

#include <string_view>

#include "collectors/source.h"

namespace nodemeter {

// Limits of what is taken over; whatever breaks one is left out, alone. Within store/entry.h's limits also after
// percent-encoding into a resource URI.
inline constexpr std::size_t kOwnerNameMax = 512;  // Resource group, name, tag name.
inline constexpr std::size_t kOwnerTagValueMax = 2048;
inline constexpr std::size_t kOwnerTagsMax = 64;

Uuid nova_project_namespace();

// An owner that is not `known` if the definition names none or its subscription makes no sense. Never fails.
//
// `domain_xml`: the whole definition.
Owner parse_owner_metadata(std::string_view domain_xml);

}  // namespace nodemeter
