// What the seeded world found in the product, and what became of it. Each seed was made small; the plan stays.

#pragma once

#include <cstdint>
#include <string_view>

namespace nodemeter {

struct Regression {
  std::uint64_t seed;     // Of the world that found it, with the plans drawn as they were then.
  std::string_view what;  // One line: what was wrong.
  std::string_view plan;  // The smallest world that shows it.
};

inline constexpr Regression kRegressions[] = {
    {2, "a failed migration: the process that came back was counted from zero a second time",
     R"({"seed":2,"start_ms":1767226808845,"length_ms":2576118,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":14,"memory_mib":1769,"cpu_percent":20,"disks":0,"nics":0,"rate":31,"width_32":false,
                  "starts_proven":true,"owner_known":true,"windows":true,"persistent":false,"first_ms":0}],
         "ops": [{"at_ms":2516118,"op":"migrate_fails","vm":0,"a":0,"b":0}]})"},
    {22, "a VM that arrived unseen and migrated away: its definition left behind was taken for an allocated VM",
     R"({"seed":22,"start_ms":1767228077701,"length_ms":60000,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":12,"memory_mib":18725,"cpu_percent":33,"disks":0,"nics":0,"rate":6,"width_32":false,
                  "starts_proven":true,"owner_known":false,"windows":true,"persistent":true,"first_ms":0}],
         "ops": [{"at_ms":0,"op":"migrate_out","vm":0,"a":0,"b":0}]})"},
    {428,
     "the clock moved while a VM was not listed: the new name of its last instant was not written down, and after "
     "a reboot its gap was as much too long or too short as the clock had moved",
     R"({"seed":428,"start_ms":1767231845693,"length_ms":3339710,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":8,"memory_mib":30447,"cpu_percent":14,"disks":0,"nics":0,"rate":55,"width_32":false,
                  "starts_proven":true,"owner_known":true,"windows":true,"persistent":true,"first_ms":0}],
         "ops": [{"at_ms":1656415,"op":"clock_drift","vm":0,"a":3,"b":0},
                 {"at_ms":2209644,"op":"service_away","vm":0,"a":1441723,"b":0},
                 {"at_ms":2244524,"op":"stop","vm":0,"a":0,"b":0},
                 {"at_ms":3279710,"op":"power_loss","vm":0,"a":0,"b":9279}]})"},
    {635,
     "a batch of nothing but rows that are refused was never given up, although later rows would have gone through",
     R"({"seed":635,"start_ms":1767231033202,"length_ms":9000000,"interval_ms":30000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":1,"memory_mib":4377,"cpu_percent":10,"disks":0,"nics":0,"rate":17,"width_32":false,
                  "starts_proven":true,"owner_known":true,"windows":false,"persistent":false,"first_ms":0},
                 {"vcores":2,"memory_mib":3473,"cpu_percent":73,"disks":0,"nics":0,"rate":17,"width_32":false,
                  "starts_proven":true,"owner_known":true,"windows":false,"persistent":true,"first_ms":0}],
         "ops": [{"at_ms":0,"op":"refuses_row","vm":0,"a":1,"b":0},
                 {"at_ms":0,"op":"refuses_row","vm":0,"a":2,"b":0}]})"},
    {2243, "a VM that was first heard of when it left: what it used after it came back was not counted from zero",
     R"({"seed":2243,"start_ms":1767228094985,"length_ms":179453,"interval_ms":300000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":false,"count_stopped":true,"urgent":false,
         "vms": [{"vcores":12,"memory_mib":8190,"cpu_percent":2,"disks":0,"nics":0,"rate":123915528,"width_32":false,
                  "starts_proven":true,"owner_known":false,"windows":false,"persistent":true,"first_ms":0}],
         "ops": [{"at_ms":0,"op":"migrate_out","vm":0,"a":0,"b":0},
                 {"at_ms":119453,"op":"recreate","vm":0,"a":0,"b":0}]})"},
    {1001963, "a VM that was seen to be away and came back unseen in its old process was billed for the time away",
     R"({"seed":1001963,"start_ms":1767228548118,"length_ms":8120,"interval_ms":10000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":false,
         "vms": [{"vcores":12,"memory_mib":26778,"cpu_percent":38,"disks":0,"nics":0,"rate":180046262,
                  "width_32":false,"starts_proven":true,"owner_known":true,"windows":true,"persistent":true,
                  "first_ms":0}],
         "ops": [{"at_ms":0,"op":"migrate_fails","vm":0,"a":2107,"b":0},
                 {"at_ms":4965,"op":"agent_crash","vm":0,"a":0,"b":0}]})"},
    {50008294,
     "the clock lost more than the host was down: the gap entry had no length, and nothing said that this length was a "
     "guess, so that what was used and lost was nowhere marked",
     R"({"seed":50008294,"start_ms":1767232613406,"length_ms":3207253,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":2,"memory_mib":2919,"cpu_percent":27,"disks":0,"nics":0,"rate":162741461,"width_32":false,
                  "starts_proven":true,"owner_known":false,"windows":true,"persistent":false,"first_ms":4436713}],
         "ops": [{"at_ms":171337,"op":"store_full","vm":0,"a":30133,"b":0},
                 {"at_ms":186619,"op":"migrate_in","vm":0,"a":0,"b":0},
                 {"at_ms":224594,"op":"store_full","vm":0,"a":1562663,"b":0},
                 {"at_ms":1303107,"op":"power_loss","vm":0,"a":2838901,"b":-5084},
                 {"at_ms":3147253,"op":"clock_step","vm":0,"a":0,"b":-49095729}]})"},
    {1459617879, "a restart that was told after a sample of the new process: what it had used was billed a second time",
     R"({"seed":1459617879,"start_ms":1767226024648,"length_ms":398742,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":false,
         "vms": [{"vcores":11,"memory_mib":15858,"cpu_percent":77,"disks":0,"nics":0,"rate":209118558,
                  "width_32":false,"starts_proven":true,"owner_known":false,"windows":false,"persistent":true,
                  "first_ms":0}],
         "ops": [{"at_ms":238908,"op":"late_notices","vm":0,"a":189892,"b":0},
                 {"at_ms":338742,"op":"restart","vm":0,"a":0,"b":0}]})"},
    {1459617918, "the same with a VM that was deleted and created again",
     R"({"seed":1459617918,"start_ms":1767226149784,"length_ms":9770229,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":10,"memory_mib":64435,"cpu_percent":18,"disks":0,"nics":0,"rate":90721337,
                  "width_32":false,"starts_proven":true,"owner_known":true,"windows":false,"persistent":false,
                  "first_ms":0}],
         "ops": [{"at_ms":9575140,"op":"late_notices","vm":0,"a":315601,"b":0},
                 {"at_ms":9710229,"op":"recreate","vm":0,"a":0,"b":0}]})"},
    {1594654919,
     "a receiver that was put back to an older copy got nothing again for up to a day, if it had long been asking in "
     "vain "
     "for an entry that is parked",
     R"({"seed":1594654919,"start_ms":1767229706870,"length_ms":74160732,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":6,"memory_mib":44346,"cpu_percent":36,"disks":0,"nics":0,"rate":187294663,"width_32":false,
                  "starts_proven":true,"owner_known":true,"windows":false,"persistent":false,"first_ms":0},
                 {"vcores":14,"memory_mib":61516,"cpu_percent":74,"disks":0,"nics":0,"rate":170815932,
                  "width_32":false,"starts_proven":true,"owner_known":true,"windows":true,"persistent":true,
                  "first_ms":0}],
         "ops": [{"at_ms":3127130,"op":"refuses_rows_for_a_while","vm":0,"a":78992,"b":5},
                 {"at_ms":74100732,"op":"receiver_restored","vm":0,"a":0,"b":0}]})"},
    {1594666357, "two gap entries of one stretch overlapped by what the clock had been followed backwards meanwhile",
     R"({"seed":1594666357,"start_ms":1767226491174,"length_ms":7500,"interval_ms":60000,"close_grace_ms":30000,
         "rows_max":10000,"begins_empty":true,"count_stopped":true,"urgent":true,
         "vms": [{"vcores":10,"memory_mib":49455,"cpu_percent":38,"disks":0,"nics":0,"rate":172343597,"width_32":false,
                  "starts_proven":true,"owner_known":false,"windows":false,"persistent":false,"first_ms":0}],
         "ops": [{"at_ms":0,"op":"service_away","vm":0,"a":1,"b":0},
                 {"at_ms":0,"op":"clock_step","vm":0,"a":0,"b":-108},
                 {"at_ms":0,"op":"commit_unknown_lost","vm":0,"a":1,"b":284000}]})"},
};

}  // namespace nodemeter
