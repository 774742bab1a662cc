"""Every exception code that can be provoked, sent by the uploader's transport and judged by its classes; the rest from
recorded answers. What the agent does then is tried with the agent itself."""

import json
import random
import re
import subprocess
import threading
import time
import urllib.parse
import zlib

from engine import free_ports
from fleet import check

RETRY, HELD, DATA, ACCEPTED = "retry", "held", "data", "accepted"

# For the server of these cases: users who may do less than others, and a cluster that is not there.
USERS = """<clickhouse>
  <quotas><once><interval><duration>360000</duration><queries>1</queries></interval></once></quotas>
  <profiles>
    <single><max_concurrent_queries_for_user>1</max_concurrent_queries_for_user></single>
    <reader><readonly>1</readonly></reader>
    <fixed><constraints><async_insert><const/></async_insert></constraints></fixed>
  </profiles>
  <users>
    <once><password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>once</quota></once>
    <single><password/><networks><ip>::/0</ip></networks><profile>single</profile><quota>default</quota></single>
    <reader><password/><networks><ip>::/0</ip></networks><profile>reader</profile><quota>default</quota></reader>
    <fixed><password/><networks><ip>::/0</ip></networks><profile>fixed</profile><quota>default</quota></fixed>
    <elsewhere><password/><networks><ip>192.0.2.1</ip></networks><profile>default</profile><quota>default</quota></elsewhere>
    <nothing><password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
      <grants><query>GRANT SELECT ON system.one</query></grants></nothing>
  </users>
</clickhouse>
"""

TABLES = (
    "CREATE DATABASE scratch",
    "CREATE TABLE scratch.t (n UInt64, CONSTRAINT small CHECK n < 100) ENGINE = MergeTree ORDER BY n",
    "CREATE TABLE scratch.slow (n UInt64, CONSTRAINT slow CHECK sleepEachRow(0.2) = 0) ENGINE = MergeTree ORDER BY n",
    "CREATE TABLE scratch.nested (`a.x` Array(UInt8), `a.y` Array(UInt8)) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE scratch.full (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS min_free_disk_bytes_to_perform_insert = 1000000000000000",
    "CREATE TABLE scratch.fixed (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS table_readonly = 1",
    "CREATE TABLE scratch.months (n UInt64) ENGINE = MergeTree ORDER BY n PARTITION BY n",
    "CREATE TABLE scratch.parts (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS parts_to_delay_insert = 1, parts_to_throw_insert = 1, max_delay_to_insert = 1",
    "SYSTEM STOP MERGES scratch.parts",
    "INSERT INTO scratch.parts VALUES (1)",
    "CREATE TABLE scratch.source (n UInt64) ENGINE = MergeTree ORDER BY n",
    "CREATE MATERIALIZED VIEW scratch.view TO scratch.t AS SELECT n FROM scratch.source WHERE throwIf(n = 7) = 0",
    "CREATE TABLE scratch.away (n UInt64) ENGINE = Distributed(away, scratch, t)",
    "CREATE TABLE scratch.uuid (v UUID) ENGINE = Memory", "CREATE TABLE scratch.string4 (v FixedString(4)) ENGINE = Memory",
    "CREATE TABLE scratch.date (v Date) ENGINE = Memory", "CREATE TABLE scratch.time (v DateTime) ENGINE = Memory",
    "CREATE TABLE scratch.decimal (v Decimal(9, 2)) ENGINE = Memory", "CREATE TABLE scratch.float (v Float64) ENGINE = Memory",
    "CREATE TABLE scratch.int (v Int32) ENGINE = Memory",
)

INSERT = "INSERT INTO scratch.t (n) FORMAT MsgPack"
ONE = b"\x01"
ROW_BY_ROW = {"max_block_size": 1, "max_insert_block_size": 1, "min_insert_block_size_rows": 1}


def into(table, form="MsgPack"):
    return f"INSERT INTO scratch.{table} FORMAT {form}"


def gzipped(data):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


NOISE = random.Random(1).randbytes(4000)
# A zstd frame with a checksum over the byte 1, and the same with the checksum damaged.
ZSTD = bytes.fromhex("28b52ffd04580900000130e7211b")

# Verdict, code, statement, body, and what else the request has.
PROVOKED = (
    (ACCEPTED, 0, INSERT, ONE, {}),
    (RETRY, 159, into("slow"), bytes(range(40)), {"settings": {"max_execution_time": 1, **ROW_BY_ROW}}),
    (RETRY, 160, into("slow"), bytes(range(40)), {}),  # The engine refuses to sleep so long in one block.
    (ACCEPTED, 0, INSERT, ONE, {"user": "once"}),
    (RETRY, 201, INSERT, ONE, {"user": "once"}),
    (RETRY, 210, into("away"), ONE, {"settings": {"distributed_foreground_insert": 1}}),
    (RETRY, 225, "CREATE TABLE scratch.replicated (n UInt64) ENGINE = ReplicatedMergeTree('/a', 'b') ORDER BY n", b"", {}),
    (RETRY, 241, INSERT, ONE, {"settings": {"max_memory_usage": 1000}}),
    (RETRY, 243, into("full"), ONE, {}),
    (RETRY, 252, into("parts"), ONE, {}),
    (RETRY, 395, into("source"), b"\x07", {}),
    (HELD, 15, "INSERT INTO scratch.t (n, n) FORMAT MsgPack", b"\x01\x01", {}),
    (HELD, 16, "INSERT INTO scratch.t (no_such) FORMAT MsgPack", ONE, {}),
    (HELD, 20, "INSERT INTO scratch.t (n) SELECT 1, 2", b"", {}),
    (HELD, 43, "INSERT INTO scratch.int SELECT toInt32([1])", b"", {}),
    (HELD, 46, "INSERT INTO scratch.t (n) SELECT no_such(1)", b"", {}),
    (HELD, 47, "INSERT INTO scratch.t (n) SELECT no_such", b"", {}),
    (HELD, 48, INSERT, ONE, {"header": ["Content-Encoding", "no-such"]}),
    (HELD, 60, into("no_such"), ONE, {}),
    (HELD, 62, "INSERTT INTO scratch.t (n) FORMAT MsgPack", ONE, {}),
    (HELD, 62, "", ONE, {}),  # A URL without a query: the rows are taken for one.
    (HELD, 73, into("t", "NoSuch"), ONE, {}),
    (HELD, 81, "INSERT INTO no_such.t (n) FORMAT MsgPack", ONE, {}),
    (HELD, 115, INSERT, ONE, {"settings": {"no_such": 1}}),
    (HELD, 164, INSERT, ONE, {"user": "reader"}),
    (HELD, 452, INSERT, ONE, {"user": "fixed", "settings": {"async_insert": 0}}),
    (HELD, 497, INSERT, ONE, {"user": "nothing"}),
    (HELD, 516, INSERT, ONE, {"user": "nobody"}),
    (HELD, 516, INSERT, ONE, {"user": "elsewhere"}),  # Not from this address: the code does not say so any more.
    (HELD, 701, "INSERT INTO FUNCTION cluster('no_such', scratch.t) (n) FORMAT MsgPack", ONE, {}),
    (HELD, 774, into("fixed"), ONE, {}),
    (DATA, 27, into("int", "TSV"), b"abc\n", {}),
    (DATA, 32, into("string4", "Native"), b"\x01\x01", {}),
    (DATA, 33, into("uuid"), b"\xc7\x0f\x02" + bytes(15), {}),
    (DATA, 36, into("uuid"), b"\xd8\x05" + bytes(16), {}),
    (DATA, 38, into("date", "TSV"), b"abc\n", {}),
    (DATA, 41, into("time", "TSV"), b"2026-13-99 xx\n", {}),
    (DATA, 44, INSERT, b"\xa1a", {}),
    (DATA, 53, into("int", "Values"), b"(NULL)", {"settings": {"input_format_null_as_default": 0}}),
    (DATA, 69, into("decimal", "TSV"), b"123456789012345\n", {}),
    (DATA, 72, into("float", "TSV"), b"abc\n", {}),
    (DATA, 117, INSERT, b"\xcf\x01", {}),
    (DATA, 131, into("string4"), b"\xc4\x05abcde", {}),
    (DATA, 190, into("nested"), b"\x91\x01\x92\x01\x02", {}),
    (DATA, 252, into("months"), b"\x01\x02\x03", {"settings": {"max_partitions_per_insert_block": 2}}),
    (DATA, 354, INSERT, b"\x01nonsense", {"header": ["Content-Encoding", "gzip"]}),
    (DATA, 354, INSERT, gzipped(NOISE)[:500], {"header": ["Content-Encoding", "gzip"]}),
    (DATA, 376, into("uuid"), b"\xd9\x24" + b"x" * 36, {}),
    (DATA, 469, INSERT, b"\xcc\xff", {}),
    (DATA, 561, INSERT, ZSTD[:-4] + b"\0\0\0\0", {"header": ["Content-Encoding", "zstd"]}),
    (ACCEPTED, 0, INSERT, ZSTD, {"header": ["Content-Encoding", "zstd"]}),
    (ACCEPTED, 0, INSERT, ONE, {"compression": "zstd"}),
)

# What needs replicas, a keeper or more machines than one. Status and first line as servers send them.
RECORDED = (
    (RETRY, 203, 500, "No free connection. (NO_FREE_CONNECTION)"),
    (RETRY, 209, 500, "DB::NetException: Timeout exceeded while reading from socket (shard2:9000). (SOCKET_TIMEOUT)"),
    (RETRY, 236, 500, "Insert was cancelled. (ABORTED)"),
    (RETRY, 242, 500, "Table is in readonly mode: replica_path=/clickhouse/tables/1/metering/journal_local/replicas/r1. (TABLE_IS_READ_ONLY)"),
    (RETRY, 279, 500, "All connection tries failed. (ALL_CONNECTION_TRIES_FAILED)"),
    (RETRY, 285, 500, "Number of alive replicas (1) is less than requested quorum (2/2). (TOO_FEW_LIVE_REPLICAS)"),
    (RETRY, 286, 500, "Quorum for previous write has not been satisfied yet. (UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE)"),
    (RETRY, 319, 500, "Unknown quorum status. The data was inserted in the local replica but we could not verify quorum. (UNKNOWN_STATUS_OF_INSERT)"),
    (RETRY, 999, 500, "Coordination::Exception: Session expired. (KEEPER_EXCEPTION)"),
    (HELD, 10, 500, "Not found column n in block. (NOT_FOUND_COLUMN_IN_BLOCK)"),
    (HELD, 192, 500, "Unknown user a. (UNKNOWN_USER)"),
    (HELD, 193, 500, "Wrong password for user a. (WRONG_PASSWORD)"),
    (HELD, 194, 500, "Password required for user a. (REQUIRED_PASSWORD)"),
    (HELD, 195, 500, "User a is not allowed to connect from address 192.0.2.7. (IP_ADDRESS_NOT_ALLOWED)"),
    (HELD, 291, 500, "Access denied to database metering for user a. (DATABASE_ACCESS_DENIED)"),
    (HELD, 381, 411, "The Transfer-Encoding is not chunked and there is no Content-Length header for POST or PUT request. (HTTP_LENGTH_REQUIRED)"),
    (DATA, 6, 400, "Cannot parse string 'a' as UInt64: syntax error at begin of string. (CANNOT_PARSE_TEXT)"),
    (DATA, 26, 400, "Cannot parse quoted string: expected opening quote. (CANNOT_PARSE_QUOTED_STRING)"),
    (DATA, 349, 400, "Cannot convert NULL value to non-Nullable type. (CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN)"),
)


class Probe:
    """The uploader's transport and classes, in a process of their own."""

    def __init__(self, binaries, folder, server):
        self.server = server
        self.folder = folder
        self.tokens = 0
        (folder / "key").write_text("no-key")
        self.process = subprocess.Popen([str(binaries / "tests" / "answer_probe")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lock = threading.Lock()

    def ask(self, line):
        with self.lock:
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def send(self, statement, body, user="default", settings=None, **more):
        self.tokens += 1
        path = self.folder / "body"
        path.write_bytes(body)
        arguments = {**({"query": statement} if statement else {}), **(settings or {})}
        return self.ask({"url": f"http://127.0.0.1:{self.server.http_port}/?" + urllib.parse.urlencode(arguments), "user": user,
                         "body_file": str(path), "token": str(self.tokens), **more})

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)


def away_cluster():
    """A cluster of one server at a port where nobody listens."""
    return ("<remote_servers><away><shard><replica><host>127.0.0.1</host>"
            f"<port>{free_ports(1)[0]}</port></replica></shard></away></remote_servers>")


def provoked_codes(probe):
    for sql in TABLES:
        probe.server.run(sql)
    for verdict, code, statement, body, more in PROVOKED:
        answer = probe.send(statement, body, **more)
        check(f"code {code}, {statement or 'no statement'}: {answer['reason']}", (answer["verdict"], answer["code"]),
              (verdict, str(code) if code else ""))
    others_at_once(probe)
    answer = probe.ask({"url": f"http://127.0.0.1:{free_ports(1)[0]}/", "body_file": str(probe.folder / "body"), "token": "x"})
    check("nobody listens", (answer["verdict"], answer["status"]), (RETRY, 0))
    answer = probe.send(into("slow"), bytes(range(14)), timeout_ms=500)
    check("no answer in time", (answer["verdict"], answer["status"]), (RETRY, 0))
    answer = probe.ask({"url": f"http://127.0.0.1:{probe.server.http_port}/ping", "body_file": str(probe.folder / "body"), "token": "x"})
    check("a page of ClickHouse that is no acknowledgement", answer["verdict"] == ACCEPTED, False)


def others_at_once(probe):
    """Two codes need something else to happen at the same time: an insert that would last 20 seconds, but is killed."""
    server = probe.server
    rows = bytes(range(100))

    def kill(query_id):
        server.run(f"KILL QUERY WHERE query_id = '{query_id}' ASYNC")

    query = urllib.parse.urlencode({"query": into("slow"), "query_id": "busy", **ROW_BY_ROW})
    busy = threading.Thread(target=lambda: server.request("POST", "/?" + query, rows, {"X-ClickHouse-User": "single"}))
    busy.start()
    wait_for_query(server, "busy", busy.is_alive)
    answer = probe.send(INSERT, ONE, user="single")
    kill("busy")
    busy.join()
    check("too many at once", (answer["verdict"], answer["code"]), (RETRY, "202"))

    over = threading.Event()
    killer = threading.Thread(target=lambda: (wait_for_query(server, "killed", lambda: not over.is_set()), kill("killed")))
    killer.start()
    answer = probe.send(into("slow"), rows, settings={"query_id": "killed", **ROW_BY_ROW})
    over.set()
    killer.join()
    check("killed by an operator", (answer["verdict"], answer["code"]), (RETRY, "394"))


def wait_for_query(server, query_id, still_possible):
    while still_possible() and server.value(f"SELECT count() FROM system.processes WHERE query_id = '{query_id}'") == 0:
        time.sleep(0.02)


def recorded_codes(probe):
    for verdict, code, status, text in RECORDED:
        answer = probe.ask({"status": status, "headers": {"x-clickhouse-exception-code": str(code)},
                            "body": f"Code: {code}. DB::Exception: {text} (version 26.7.2.1)\n"})
        check(f"code {code}", answer["verdict"], verdict)


def every_code_is_tried(root):
    """No code of the uploader's table is left out here."""
    table = set(re.findall(r"\{([0-9]+), Verdict::", (root / "uploader" / "answer.cpp").read_text()))
    tried = {str(case[1]) for case in PROVOKED + RECORDED} | {"202", "394"}
    check("codes that no case tries", sorted(table - tried), [])
