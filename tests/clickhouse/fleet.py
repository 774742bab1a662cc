"""What the cases share: two shards with the project's schema, checks that are counted, repeats by hand."""

import shutil
from pathlib import Path

from engine import SCHEMA, Server, free_ports, key_digest
from node import COLUMNS

REPLICATED = "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/metering/journal_local', '{replica}')"
# Tokens without a keeper, so that what they do shows. Nothing here kills a server while it takes rows in: see one-server.sql.
TOKENS = ("SETTINGS replicated_deduplication_window", "SETTINGS non_replicated_deduplication_window = 200000, replicated_deduplication_window")
NODE_BLOCK = ("<node_n1>", "</node_n1>")


class CheckError(Exception):
    """A case found something that is not as it must be."""


made = []


def checks_made():
    return len(made)


def check(what, got, expected):
    made.append(what)
    if got != expected:
        raise CheckError(f"{what}:\n  got      {str(got)[:1500]}\n  expected {str(expected)[:1500]}")


def users(nodes):
    """The project's users.xml, with the node's block for each of `nodes` and the tests' password."""
    text = (SCHEMA / "users.xml").read_text().replace("PASSWORD_SHA256", key_digest())
    begin, end = text.index(NODE_BLOCK[0]), text.index(NODE_BLOCK[1]) + len(NODE_BLOCK[1])
    block = text[begin:end]
    return text[:begin] + "".join(block.replace("node_n1", "node_" + node) for node in nodes) + text[end:]


def without_trial_mark(name):
    """The lines that keep simulated rows out: these tests have no others."""
    lines = (SCHEMA / name).read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.lstrip().startswith("CONSTRAINT not_simulated"))
    last = lines[at - 2]  # The constraint before it, and its comment between.
    return [(last + lines[at - 1] + lines[at], last.rstrip().rstrip(",") + "\n")]


def set_up(server, tables, replace=()):
    server.run_file(tables, replace)
    server.run_file("views.sql")
    server.run_file("completeness.sql")


class Cluster:
    """Two shards of one replica each: replication needs a keeper, which this engine does not have."""

    def __init__(self, folder, nodes):
        ports = [free_ports(2) for _ in range(2)]
        shards = "".join("<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host>"
                         f"<port>{tcp}</port></replica></shard>" for _, tcp in ports)
        fleet = f"<remote_servers><fleet><secret>between servers</secret>{shards}</fleet></remote_servers>"
        self.servers = [Server(Path(folder) / f"shard{n + 1}", users(nodes),
                               f"{fleet}<macros><shard>{n + 1}</shard><replica>r1</replica></macros>", port)
                        for n, port in enumerate(ports)]

    def start(self):
        for server in self.servers:
            server.start()
        for server in self.servers:
            set_up(server, "cluster.sql", [(REPLICATED, "ReplacingMergeTree"), TOKENS, *without_trial_mark("cluster.sql")])

    def stop(self):
        for server in self.servers:
            server.stop()

    def on_shards(self, sql, **settings):
        for server in self.servers:
            server.run(sql, **settings)


def copy_of(server, where):
    """Stored rows as the bytes in which they could be delivered."""
    columns = ", ".join(f"`{name}`" for name in COLUMNS)
    sql = f"SELECT {columns} FROM metering.journal FINAL WHERE {where} ORDER BY node_id, epoch, seq FORMAT MsgPack"
    return server.ask(sql).body


def deliver(server, user, body, token, table="metering.journal", **settings):
    """Rows under a token of our own, with the settings that the agent's URL has."""
    sql = f"INSERT INTO {table} ({','.join(COLUMNS)}) FORMAT MsgPack"
    return server.ask(sql, user, body, insert_deduplication_token=token, input_format_null_as_default=0, async_insert=0,
                      insert_deduplicate=1, **settings)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
