"""Goal: ClickHouse with the project's schema is an aggregator: it shows exactly the journal's records.

Method: a real engine, two shards on loopback, the real agent with a simulated source delivering to it. Rows, digests, sums
and rounded quantities are compared with the journal's; rows are repeated, forked, removed and changed by hand; users try
what they must not; agent and servers are killed in the middle of deliveries; every exception code that can be provoked is,
and the uploader's own classes say what they make of it.

    clickhouse_main.py BINARIES FOLDER

Ends with 77 (skipped) only if the engine is neither in the cache nor to be had from the registry.
"""

import sys
import time
from pathlib import Path

import agent_cases
import answer_cases
import commerce_cases
import delivery_cases
import reading_cases
import relay_cases
from engine import ROOT, EngineError, EngineMissing, Server, library
from fleet import CheckError, Cluster, checks_made, fresh, set_up, users
from testsite import SiteError

sys.path.insert(0, str(ROOT / "tests" / "bench"))

from drain_main import drain  # noqa: E402  (the path above)

NODES = ("n1", "n3")  # Their names put them on different shards.
KILLED = "n2"
RELAYED = ("n5", "n6")  # Behind a relay: the engine has no users for them.


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    try:
        library()
    except EngineMissing as error:
        print(f"SKIPPED: ClickHouse is not tested here: {error}", flush=True)
        return 77
    fresh(folder)
    cluster = Cluster(folder, (*NODES, KILLED))
    one_server = Server(folder / "one", users(NODES), answer_cases.away_cluster(), more_users=answer_cases.USERS)
    probe = answer_cases.Probe(binaries, folder, one_server)
    nodes = []

    def case(name, function, *arguments):
        begin, before = time.monotonic(), checks_made()
        result = function(*arguments)
        print(f"ok  {name} ({checks_made() - before} checks, {time.monotonic() - begin:.1f} s)", flush=True)
        return result

    try:
        case("two shards and one server start", start, cluster, one_server)
        case("the schema is the agent's", reading_cases.schema_is_the_agents, cluster, one_server)
        case("the users as SQL can be read", reading_cases.users_as_sql_can_be_read, one_server)
        case("commerce is the embedded aggregator's", commerce_cases.commerce_is_the_embedded_ones, one_server, folder, binaries)
        nodes += case("two nodes deliver", delivery_cases.two_nodes_deliver, cluster, folder, binaries, NODES)
        case("repeats collapse", delivery_cases.repeats_collapse, cluster, nodes)
        case("a fork shows", delivery_cases.a_fork_shows, cluster, nodes)
        case("nodes write as themselves only", reading_cases.nodes_write_as_themselves, cluster, nodes)
        case("tenants see their own rows only", reading_cases.tenants_see_their_own, cluster, nodes)
        case("missing rows are found", reading_cases.missing_rows_are_found, cluster, nodes)
        case("lost tails are found", reading_cases.lost_tails_are_found, cluster, nodes)
        case("unknown meters break nothing", reading_cases.unknown_meters_break_nothing, cluster, nodes)
        case("codes that can be provoked", answer_cases.provoked_codes, probe)
        case("codes from recorded answers", answer_cases.recorded_codes, probe)
        case("no code is left out", answer_cases.every_code_is_tried, ROOT)
        case("held until mended", agent_cases.held_until_mended, one_server, folder, binaries, "n1")
        case("a crash leaves no token without rows", delivery_cases.a_crash_leaves_no_token, one_server, "n1")
        case("a relay passes on through kills", relay_cases.relay_is_killed, one_server, folder, binaries, RELAYED)
        case("another node's user is held", agent_cases.another_nodes_user, one_server, folder, binaries, "n1", "n3")
        case("refused rows are parked", agent_cases.refused_rows_are_parked, one_server, folder, binaries, "n3")
        case("a store that is used twice forks", agent_cases.a_copied_store_forks, one_server, folder, binaries, "n3")
        case("kills in the middle", agent_cases.kills_in_the_middle, cluster, folder, binaries, KILLED)
        case("a few thousand entries drain as curl sends them", drain, binaries, folder / "drain", 3000)
    except (CheckError, EngineError, SiteError) as error:
        print(f"FAILED: {error}\nstate for inspection: {folder}", file=sys.stderr)
        return 1
    finally:
        for node in nodes:
            node.stop()
        probe.stop()
        cluster.stop()
        one_server.stop()
    print(f"{checks_made()} checks, all as expected", flush=True)
    return 0


def start(cluster, one_server):
    cluster.start()
    one_server.start()
    set_up(one_server, "one-server.sql")


if __name__ == "__main__":
    sys.exit(main())
