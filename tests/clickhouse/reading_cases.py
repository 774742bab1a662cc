"""Who may write and read what, and whether the completeness query finds what is missing."""

import json

from engine import SCHEMA, statements
from fleet import check, copy_of, deliver
from node import COLUMNS, TENANTS

ACCESS_DENIED, WRONG_PASSWORD, VIOLATED, READ_ONLY = 497, 516, 469, 164


def nodes_write_as_themselves(cluster, nodes):
    first, second = cluster.servers
    one, other = nodes
    theirs = copy_of(first, f"node_id = '{other.name}' AND seq = 1")
    for server in cluster.servers:
        for table in ("metering.journal", "metering.journal_local"):
            answer = deliver(server, "node_" + one.name, theirs, "as another", table)
            check(f"written as another node into {table}", (answer.code, b"writes_as_itself" in answer.body), (VIOLATED, True))
    check("nobody else writes either", deliver(first, "operator", theirs, "as operator").code, READ_ONLY)
    user = "node_" + one.name
    for sql in ("SELECT count() FROM metering.journal", "SELECT * FROM metering.usage", "ALTER TABLE metering.journal_local DELETE WHERE 1",
                "TRUNCATE TABLE metering.journal_local", "DROP TABLE metering.journal", "OPTIMIZE TABLE metering.journal_local FINAL"):
        check(f"a node may only insert: {sql}", second.ask(sql, user).code, ACCESS_DENIED)
    mine = copy_of(first, f"node_id = '{one.name}' AND seq = 1")
    check("nor loosen what delivery relies on", deliver(first, user, mine, "loose", distributed_foreground_insert=0).status == 200, False)


def tenants_see_their_own(cluster, nodes):
    expected = {tenant: 0 for tenant in TENANTS}
    total = 0
    for node in nodes:
        for entry in node.journal():
            total += 1
            if entry["tenant"] in expected:
                expected[entry["tenant"]] += 1
    for server in cluster.servers:
        tenant = TENANTS[0]
        for table in ("metering.journal", "metering.journal FINAL"):
            check(f"own rows of {table}", server.rows(f"SELECT count(), uniqExact(tenant_id) FROM {table}", "tenant_a"),
                  [(expected[tenant], 1)])
        for view in ("usage_entries", "usage", "usage_hourly", "usage_daily"):
            check(f"own rows of {view}", server.rows(f"SELECT DISTINCT tenant_id FROM metering.{view}", "tenant_a"), [(tenant,)])
            check(f"as many as the operator sees of them in {view}", server.value(f"SELECT count() FROM metering.{view}", "tenant_a"),
                  server.value(f"SELECT count() FROM metering.{view} WHERE tenant_id = '{tenant}'", "operator"))
            check(f"nothing of others in {view}",
                  server.value(f"SELECT count() FROM metering.{view} WHERE tenant_id = '{TENANTS[1]}'", "tenant_a"), 0)
        check("the shard's own table", server.value(f"SELECT count() FROM metering.journal_local WHERE tenant_id != '{tenant}'", "tenant_a"), 0)
        for sql in ("SELECT * FROM metering.findings", "SELECT * FROM metering.entries", "SELECT * FROM metering.nodes",
                    "INSERT INTO metering.journal (seq) VALUES (1)",
                    f"SELECT * FROM remote('127.0.0.1:{server.tcp_port}', metering.journal_local)"):
            answer = server.ask(sql, "tenant_a")
            check(f"a tenant is refused: {sql}", answer.code in (ACCESS_DENIED, READ_ONLY), True)
        check("the operator sees all", server.value("SELECT count() FROM metering.journal FINAL", "operator"), total)
        check("a wrong password", server.request("POST", "/?query=SELECT+1", None,
                                                 {"X-ClickHouse-User": "operator", "X-ClickHouse-Key": "guess"}).code, WRONG_PASSWORD)


def findings(server):
    return sorted({row for row in server.rows("SELECT finding, first_seq, last_seq FROM metering.findings")})


def missing_rows_are_found(cluster, nodes):
    """Rows are taken away, changed and given back; each time the findings say exactly that."""
    first = cluster.servers[0]
    node = nodes[1]
    journal = node.journal()
    user, mine = "node_" + node.name, f"node_id = '{node.name}'"
    manifests = [e["sequence"] for e in journal if e["kind"] == "manifest"]
    usage = next(e["sequence"] for e in journal if e["kind"] == "usage" and manifests[1] < e["sequence"] < manifests[2])
    last = journal[-1]["sequence"]

    def without(where, tried, expected):
        body = copy_of(first, f"{mine} AND {where}")
        cluster.on_shards(f"ALTER TABLE metering.journal_local DELETE WHERE {mine} AND {where}", mutations_sync=2)
        check(tried, findings(first), sorted(expected))
        check(f"{tried}: given back", deliver(first, user, body, f"back {tried}").status, 200)
        check(f"{tried}: clean again", findings(first), [])

    check("clean", findings(first), [])
    begin, signed = manifests[1], manifests[2]  # The usage row's manifest covers begin to signed - 1.
    without(f"seq = {usage}", "one usage row is removed",
            [("hole", usage, usage), ("manifest count", begin, signed - 1), ("manifest sums", signed, signed)])
    after = manifests[manifests.index(signed) + 1]
    without(f"seq BETWEEN {begin} AND {signed}", "an hour is lost with both its manifests",
            [("hole", begin, signed), ("manifest count", signed, after - 1), ("manifest range", signed, after - 1)])
    without("seq <= 2", "the beginning is lost", [("hole", 1, 2), ("manifest count", 1, manifests[0] - 1)])
    # The end: only the node's own mark shows it, so that is what `nodes` is for.
    before = first.rows(f"SELECT last_seq, toString(closed_until) FROM metering.nodes WHERE {mine}")
    check("the node's mark", before[0][0], last)

    # A changed quantity under the same digest.
    body = copy_of(first, f"{mine} AND seq = {usage}")
    cluster.on_shards(f"ALTER TABLE metering.journal_local UPDATE `meter.quantity` = arrayMap(q -> q + 1, `meter.quantity`) "
                      f"WHERE {mine} AND seq = {usage}", mutations_sync=2)
    check("a changed quantity", findings(first), [("manifest sums", signed, signed)])
    cluster.on_shards(f"ALTER TABLE metering.journal_local DELETE WHERE {mine} AND seq = {usage}", mutations_sync=2)
    check("the true one is given back", deliver(first, user, body, "true quantity").status, 200)
    check("clean at last", findings(first), [])

    # A changed digest of the entry that a manifest's head names.
    head = signed - 1
    body = copy_of(first, f"{mine} AND seq = {head}")
    cluster.on_shards(f"ALTER TABLE metering.journal_local DELETE WHERE {mine} AND seq = {head}", mutations_sync=2)
    check("another entry in its place", deliver(first, user, body[:-32] + bytes(32), "head").status, 200)
    check("heads do not match", findings(first), [("manifest head", begin, head)])
    cluster.on_shards("ALTER TABLE metering.journal_local DELETE WHERE digest = unhex(repeat('00', 32))", mutations_sync=2)
    check("given back", deliver(first, user, body, "head back").status, 200)
    check("clean in the end", findings(first), [])


def lost_tails_are_found(cluster, nodes):
    """A store was replaced: its first entry says how far the one before it had come."""
    first = cluster.servers[0]
    node = nodes[1]
    last = node.journal()[-1]
    for missing in (0, 3):
        epoch = f"eeeeeeee-0000-4000-8000-{missing:012d}"
        detail = json.dumps({"event": "store-replaced", "previous_epoch": last["epoch"],
                             "previous_last_sequence": last["sequence"] + missing})
        columns = ", ".join({"epoch": f"toUUID('{epoch}')", "detail": f"'{detail}'"}.get(name, f"`{name}`") for name in COLUMNS)
        body = first.ask(f"SELECT {columns} FROM metering.journal FINAL WHERE node_id = '{node.name}' AND seq = 1 FORMAT MsgPack").body
        check("the event is stored", deliver(first, "node_" + node.name, body, f"tail {missing}").status, 200)
        expected = [("lost tail", last["sequence"] + 1, last["sequence"] + missing)] if missing else []
        check(f"{missing} entries never arrived", findings(first), expected)
        cluster.on_shards(f"ALTER TABLE metering.journal_local DELETE WHERE epoch = '{epoch}'", mutations_sync=2)


def unknown_meters_break_nothing(cluster, nodes):
    """A newer agent may have more meters than this catalogue: base units are there, and everybody else's rows are read."""
    first = cluster.servers[0]
    node = nodes[0]
    unknown = "99999999-0000-4000-8000-000000000000"
    columns = ", ".join({"epoch": f"toUUID('{unknown}')", "meter.id": f"[toUUID('{unknown}')]", "meter.quantity": "[18446744073709551615]",
                         "meter.register": "[1]"}.get(name, f"`{name}`") for name in COLUMNS)
    body = first.ask(f"SELECT {columns} FROM metering.journal FINAL WHERE node_id = '{node.name}' AND kind = 'usage' ORDER BY seq LIMIT 2 FORMAT MsgPack").body
    before = first.value("SELECT count() FROM metering.usage WHERE quantity IS NOT NULL")
    check("the rows are stored", deliver(first, "node_" + node.name, body, "unknown meter").status, 200)
    for view in ("usage_hourly", "usage_daily"):
        total = first.value(f"SELECT toString(sum(base_quantity)) FROM metering.{view} WHERE meter_id = '{unknown}'")
        check(f"{view}: sums pass 64 bits", total, str(2 * (2**64 - 1)))
    check("no quantity is invented", first.rows(f"SELECT DISTINCT quantity, meter_name FROM metering.usage WHERE meter_id = '{unknown}'"), [(None, "")])
    check("everybody else's are there", first.value("SELECT count() FROM metering.usage WHERE quantity IS NOT NULL"), before)
    cluster.on_shards(f"ALTER TABLE metering.journal_local DELETE WHERE epoch = '{unknown}'", mutations_sync=2)


def schema_is_the_agents(cluster, one_server):
    """Both forms of the table have the columns that the agent sends, in its order, and the same checks."""
    sql = "SELECT name, type, compression_codec FROM system.columns WHERE database = 'metering' AND table = '{}' ORDER BY position"
    first = cluster.servers[0]
    one = one_server.rows(sql.format("journal"))
    check("columns", tuple(row[0] for row in one), COLUMNS)
    check("columns of the cluster", first.rows(sql.format("journal_local")), one)
    checks = [line.strip().rstrip(",") for line in (SCHEMA / "one-server.sql").read_text().splitlines() if " CHECK " in line]
    check("constraints of the cluster", [line.strip().rstrip(",") for line in (SCHEMA / "cluster.sql").read_text().splitlines()
                                         if " CHECK " in line], checks)
    # As it stands, the cluster's table needs a keeper: everything before that is accepted.
    text = (SCHEMA / "cluster.sql").read_text().split(";\n")
    [table] = [statement for statement in text if "ENGINE = Replicated" in statement]
    table = table[table.index("CREATE TABLE"):].replace("journal_local\n", "journal_replicated\n", 1)
    check("the replicated table as written, without a keeper", first.ask(table).code, 225)


def users_as_sql_can_be_read(server):
    """The engine has no writable list of users; its parser reads the statements, and they grant what users.xml grants."""
    text = (SCHEMA / "users.sql").read_text()
    found = statements(text)
    check("statements", len(found) > 20, True)
    for statement in found:
        answer = server.ask("SELECT formatQuerySingleLine({s:String}) != ''", param_s=" ".join(statement.split()))
        check(f"parsed: {statement[:80]}", (answer.status, answer.body.strip()), (200, b"1"))
    check("a statement that is none", server.ask("SELECT formatQuerySingleLine('CREATE ROW POLICIES a')").code, 62)
    grants = {line.split("<query>")[1].split("</query>")[0] for line in (SCHEMA / "users.xml").read_text().splitlines() if "<query>" in line}
    check("the grants of both", {" ".join(s.rstrip(";").split()[:-2]) for s in found if s.startswith(("GRANT INSERT", "GRANT SELECT"))}, grants)
