#include "uploader/aggregator/metrics.h"

#include <functional>

namespace nodemeter {
namespace {

void begin(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n");
  out.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

void sample(std::string& out, std::string_view name, std::string_view labels, const std::string& value) {
  out.append(name).append(labels).append(" ").append(value).append("\n");
}

std::string seconds(UtcTime t) {
  const std::int64_t ms = t.time_since_epoch().count();
  const std::string fraction = std::to_string(ms % 1000);
  return std::to_string(ms / 1000) + "." + std::string(3 - fraction.size(), '0') + fraction;
}

}  // namespace

void AggregatorMetrics::accepted(const NodeId& node, const StoreOutcome& outcome, UtcTime now) {
  const std::lock_guard lock(mutex_);
  Node& known = nodes_[node];
  known.contact = now;
  if (outcome.went_back || outcome.after_copy) ++known.went_back;
  if (outcome.twin) ++known.twins;
  ++batches_;
  rows_ += outcome.stored;
  repeats_ += outcome.repeats;
  forks_ += outcome.forks;
}

void AggregatorMetrics::refused(std::string_view cause) {
  const std::lock_guard lock(mutex_);
  ++refused_.try_emplace(std::string(cause), 0).first->second;
}

void AggregatorMetrics::refused(std::string_view cause, const NodeId& node, UtcTime now) {
  refused(cause);
  const std::lock_guard lock(mutex_);
  Node& known = nodes_[node];
  known.contact = now;
  ++known.refused.try_emplace(std::string(cause), 0).first->second;
}

// With the mutex held.
std::string AggregatorMetrics::node_text() const {
  std::string out;
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        const std::function<std::string(const Node&)>& value) {
    begin(out, name, type, help);
    for (const auto& [id, node] : nodes_) sample(out, name, "{node=\"" + id.text() + "\"}", value(node));
  };
  each("nodemeter_aggregator_node_last_contact_seconds", "gauge", "When the node was heard last, Unix time.",
       [](const Node& n) { return seconds(n.contact); });
  each("nodemeter_aggregator_node_went_back_total", "counter",
       "Batches since start that the node sent again long after their acknowledgement: its store is an older copy.",
       [](const Node& n) { return std::to_string(n.went_back); });
  each("nodemeter_aggregator_node_twins_total", "counter",
       "Batches since start of an earlier store of the node that goes on beside its newer one.",
       [](const Node& n) { return std::to_string(n.twins); });
  constexpr std::string_view kRefused = "nodemeter_aggregator_node_refused_total";
  begin(out, kRefused, "counter", "Batches of the node that were refused since start, by cause.");
  for (const auto& [id, node] : nodes_) {
    for (const auto& [cause, count] : node.refused) {
      sample(out, kRefused, "{node=\"" + id.text() + "\",cause=\"" + cause + "\"}", std::to_string(count));
    }
  }
  return out;
}

std::string AggregatorMetrics::text(const std::map<ChainKey, ChainHead>& heads, const KeyValue::Usage& usage) const {
  std::string out;
  {
    const std::lock_guard lock(mutex_);
    const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
      begin(out, name, "counter", help);
      sample(out, name, "", std::to_string(value));
    };
    counter("nodemeter_aggregator_batches_total", "Batches acknowledged since start.", batches_);
    counter("nodemeter_aggregator_rows_stored_total", "Rows stored since start.", rows_);
    counter("nodemeter_aggregator_repeats_removed_total", "Rows received again and not stored again.", repeats_);
    counter("nodemeter_aggregator_forks_total", "Rows stored beside another with their sequence number.", forks_);
    constexpr std::string_view kRefused = "nodemeter_aggregator_refused_total";
    begin(out, kRefused, "counter", "Requests refused since start, by cause.");
    for (const auto& [cause, count] : refused_)
      sample(out, kRefused, "{cause=\"" + cause + "\"}", std::to_string(count));
    out += node_text();
  }
  const auto size = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    begin(out, name, "gauge", help);
    sample(out, name, "", std::to_string(value));
  };
  size("nodemeter_aggregator_store_bytes", "Bytes of the store that are in use.", usage.used_bytes);
  size("nodemeter_aggregator_store_max_bytes", "Bytes that it may grow to.", usage.size_max_bytes);
  size("nodemeter_aggregator_store_rows", "Rows stored, of all nodes.", usage.entries);
  const auto gauge = [&](std::string_view name, std::string_view help,
                         const std::function<std::string(const ChainHead&)>& value) {
    begin(out, name, "gauge", help);
    for (const auto& [chain, head] : heads) {
      sample(out, name, "{node=\"" + chain.node.text() + "\",epoch=\"" + chain.epoch.text() + "\"}", value(head));
    }
  };
  gauge("nodemeter_aggregator_node_last_sequence", "Greatest sequence number stored.",
        [](const ChainHead& h) { return std::to_string(h.highest); });
  gauge("nodemeter_aggregator_node_contiguous_sequence", "Everything from 1 up to here is stored.",
        [](const ChainHead& h) { return std::to_string(h.contiguous); });
  gauge("nodemeter_aggregator_node_rows", "Rows stored.", [](const ChainHead& h) { return std::to_string(h.rows); });
  gauge("nodemeter_aggregator_node_forks", "Rows stored beside another with their sequence number.",
        [](const ChainHead& h) { return std::to_string(h.forks); });
  gauge("nodemeter_aggregator_node_last_arrival_seconds", "When the newest row arrived, Unix time.",
        [](const ChainHead& h) { return seconds(h.arrived_last); });
  gauge("nodemeter_aggregator_node_last_reported_seconds", "Reported time of the newest row, Unix time.",
        [](const ChainHead& h) { return seconds(h.reported_last); });
  return out;
}

}  // namespace nodemeter
