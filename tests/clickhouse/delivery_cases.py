"""Rows and sums: what the agent delivers is what ClickHouse shows, once, whatever is sent again."""

import json
import shutil
from collections import defaultdict
from decimal import Decimal

from fleet import check, copy_of, deliver
from node import COLUMNS, MOVING_VM, Node, expected_row, insert_url, stored_rows


def compare_rows(server, node):
    """Every column of every entry, and nothing else."""
    journal = sorted((expected_row(entry) for entry in node.journal()), key=lambda row: (row[2], row[3]))
    stored = sorted(stored_rows(server, node.name), key=lambda row: (row[2], row[3]))
    check(f"{node.name}: number of rows", len(stored), len(journal))
    for here, there in zip(journal, stored):
        check(f"{node.name}: entry {here[3]}", there, here)
    return len(journal)


def hour_of(entry):
    return entry["usageStart"][:13].replace("T", " ") + ":00:00"


def journal_sums(nodes):
    """What the journals say per entry, hour and day, in base units."""
    entries, hourly, daily = defaultdict(int), defaultdict(int), defaultdict(int)
    for node in nodes:
        for entry in node.journal():
            for meter in entry["meters"]:
                key = (entry["vm"], meter["meter"])
                entries[(node.name, entry["epoch"], entry["sequence"], *key)] += meter["quantity"]
                hourly[(hour_of(entry), *key)] += meter["quantity"]
                daily[(hour_of(entry)[:10], *key)] += meter["quantity"]
    return dict(entries), dict(hourly), dict(daily)


def compare_sums(server, nodes):
    for view, key, expected in zip(("usage", "usage_hourly", "usage_daily"),
                                   ("node_id, epoch, seq", "toString(hour)", "toString(day)"), journal_sums(nodes)):
        rows = server.rows(f"SELECT {key}, vm_id, meter_id, base_quantity FROM metering.{view}")
        check(f"{view}: one row per meter", len(rows), len(expected))
        check(f"{view} equals the journals", {row[:-1]: row[-1] for row in rows}, expected)


def compare_shown(server, node):
    """The rounded quantities are those that `nodemeter usage` prints, to the last decimal."""
    starts = sorted(entry["usageStart"] for entry in node.journal() if entry["kind"] == "usage")
    done = node.ask("usage", "--json", "--granularity", "hourly", "--start", starts[0][:13] + ":00:00Z", "--end",
                    starts[-1][:11] + "23:00:00Z")
    shown, mine = {}, set()
    for one in json.loads(done.stdout, parse_float=Decimal)["value"]:
        p = one["properties"]
        if p["vm"] == MOVING_VM:
            continue
        shown[p["usageStartTime"][:19].replace("T", " "), p["vm"], p["meterName"], p["unit"]] = Decimal(p["quantity"])
        mine.add(p["vm"])
    rows = server.rows("SELECT toString(hour), vm_id, meter_name, unit, toString(quantity) FROM metering.usage_hourly "
                       f"WHERE vm_id IN ({', '.join(repr(vm) for vm in mine)})")
    check("quantities as nodemeter shows them", {row[:4]: Decimal(row[4]) for row in rows}, shown)


def two_nodes_deliver(cluster, folder, binaries, nodes):
    """One node per shard, each through the server that is not its own: the cluster passes it on."""
    first, second = cluster.servers
    made = [Node(folder / name, binaries, name, [insert_url(server)])
            for name, server in zip(nodes, (second, first), strict=True)]
    for node in made:
        node.start()
    for node in made:
        node.wait(lambda status: status.get("acknowledgedSequence", 0) >= 40, "40 entries were not delivered")
    for node in made:
        node.finish()
    for node in made:
        for server in cluster.servers:
            compare_rows(server, node)
    check("each node is on a shard of its own",
          [server.value("SELECT count() > 0 AND uniqExact(node_id) = 1 FROM metering.journal_local") for server in cluster.servers],
          [1, 1])
    compare_sums(first, made)
    compare_sums(second, made)
    compare_shown(first, made[0])
    check("no findings", first.rows("SELECT * FROM metering.findings"), [])
    return made


def repeats_collapse(cluster, nodes):
    """The same rows under their token again, under another token, cut differently, by way of the other server."""
    first, second = cluster.servers
    node = nodes[0]
    where = f"node_id = '{node.name}'"
    cluster.on_shards("SYSTEM STOP MERGES metering.journal_local")  # So that copies can be counted.
    whole = copy_of(first, where)
    before = first.value(f"SELECT count() FROM metering.journal WHERE {where}")
    for server, token, body, copies in ((first, "once", whole, 2), (second, "once", whole, 2), (second, "twice", whole, 3)):
        check(f"repeat under token {token}", deliver(server, "node_" + node.name, body, token).status, 200)
        check(f"copies after token {token}", first.value(f"SELECT count() FROM metering.journal WHERE {where}"), before * copies)
    part = copy_of(first, where + " AND seq BETWEEN 7 AND 19")
    check("a part of it", deliver(second, "node_" + node.name, part, "part").status, 200)
    check("what is read is once", first.value(f"SELECT count() FROM metering.journal FINAL WHERE {where}"), before)
    compare_rows(second, node)
    compare_sums(second, nodes)
    check("repeats are no findings", second.rows("SELECT * FROM metering.findings"), [])
    cluster.on_shards("SYSTEM START MERGES metering.journal_local")
    cluster.on_shards("OPTIMIZE TABLE metering.journal_local FINAL")
    check("merged away", first.value(f"SELECT count() FROM metering.journal WHERE {where}"), before)
    compare_rows(first, node)


def a_crash_leaves_no_token(server, name):
    """What a kill just before the rows are in their place leaves behind: the repeat must not pass for stored."""
    columns = ", ".join("toUInt64(999999)" if column == "seq" else f"`{column}`" for column in COLUMNS)
    body = server.ask(f"SELECT {columns} FROM metering.journal FINAL WHERE node_id = '{name}' LIMIT 1 FORMAT MsgPack").body

    def parts():
        return set(server.rows("SELECT path FROM system.parts WHERE database = 'metering' AND table = 'journal' AND active"))

    server.run("SYSTEM STOP MERGES metering.journal")
    before = parts()
    check("the row is stored", deliver(server, "node_" + name, body, "crash").status, 200)
    [(made,)] = parts() - before
    server.kill()
    shutil.rmtree(made)
    server.start()
    check("it is gone", server.value("SELECT count() FROM metering.journal WHERE seq = 999999"), 0)
    check("its repeat is acknowledged", deliver(server, "node_" + name, body, "crash").status, 200)
    check("and stored", server.value("SELECT count() FROM metering.journal WHERE seq = 999999"), 1)
    server.run("ALTER TABLE metering.journal DELETE WHERE seq = 999999", mutations_sync=2)


def a_fork_shows(cluster, nodes):
    """Another entry under a number that is taken: both stay, and the findings name it."""
    first = cluster.servers[0]
    node = nodes[0]
    seq = next(e["sequence"] for e in node.journal() if e["kind"] == "usage")
    body = copy_of(first, f"node_id = '{node.name}' AND seq = {seq}")
    forged = body[:-32] + bytes(32)
    check("the other form is stored", deliver(first, "node_" + node.name, forged, "fork").status, 200)
    cluster.on_shards("OPTIMIZE TABLE metering.journal_local FINAL")
    check("both forms stay", first.value(f"SELECT count() FROM metering.journal WHERE node_id = '{node.name}' AND seq = {seq}"), 2)
    check("the fork shows", first.rows("SELECT node_id, first_seq, last_seq FROM metering.findings WHERE finding = 'fork'"),
          [(node.name, seq, seq)])
    kinds = {row[0] for row in first.rows("SELECT DISTINCT finding FROM metering.findings")}
    check("and the signed sums no longer fit", kinds, {"fork", "manifest sums"})
    cluster.on_shards("ALTER TABLE metering.journal_local DELETE WHERE digest = unhex(repeat('00', 32))", mutations_sync=2)
    check("without it, nothing is found", first.rows("SELECT * FROM metering.findings"), [])
