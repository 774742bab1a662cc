"""A node that delivers to ClickHouse: the real agent with a simulated source, played fast."""

import json
import os
import sys
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "site"))

from testsite import Process, SiteError, run  # noqa: E402  (the path above)

from engine import KEY  # noqa: E402

COLUMNS = ("schema", "node_id", "epoch", "seq", "kind", "vm_id", "usage_start", "usage_end", "reported_at",
           "subscription_id", "tenant_id", "resource_uri", "location", "vcores", "billable", "covered_ms", "gap_ms",
           "status", "meter.id", "meter.quantity", "meter.register", "tags", "detail", "digest")
STATUS_BITS = ("estimated", "gap", "clock_stepped", "clock_unsynchronised", "run_changed", "baseline", "counter_fell",
               "counter_missing", "owner_unknown", "late", "partial", "usage_lost", "simulated", "across_boots", "wrapped",
               "lowering_event_late")
TENANTS = ("aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002")
SPEED = 14400  # Four hours of metering a second.
WAIT_S = 180


def insert_url(server, table="metering.journal", **more):
    """upload.url as README.md beside the schema gives it."""
    query = urllib.parse.quote(f"INSERT INTO {table} ({','.join(COLUMNS)}) FORMAT MsgPack", safe="(),.")
    settings = {"input_format_null_as_default": 0, "async_insert": 0, "insert_deduplicate": 1,
                "deduplicate_blocks_in_dependent_materialized_views": 1, **more}
    return f"http://127.0.0.1:{server.http_port}/?query={query}&{urllib.parse.urlencode(settings)}"


MOVING_VM = "6f1c0000-0000-4000-8000-000000000000"


def scenario(vms, node):
    """VMs of every size; number 0 is on every node, as if it moved."""
    return {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z", "sample_interval_s": 600, "events": [], "vms": [
        {"id": f"6f1c{node % 10000 if n else 0:04d}-0000-4000-8000-{n:012d}", "name": f"web-{n}", "vcores": 1 + n % 4, "memory_mib": 1024 * (n + 1),
         "subscription": f"55550000-0000-4000-8000-{n % 3:012d}", "tenant": TENANTS[n % 2], "resource_group": "rg",
         "cpu_percent": 17, "windows_licence": n % 3 == 0,
         "disks": [{"id": "sda", "capacity_mib": 65537, "read_bytes_per_s": 1001, "write_bytes_per_s": 2003,
                    "read_operations_per_s": 7, "write_operations_per_s": 23}],
         "nics": [{"id": "eth0", "receive_bytes_per_s": 501, "transmit_bytes_per_s": 703, "receive_packets_per_s": 5,
                   "transmit_packets_per_s": 11}]} for n in range(vms)]}


class Node:
    def __init__(self, folder, binaries, name, urls, vms=4, speed=SPEED):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.program = Path(binaries) / "nodemeter"
        self.name = name
        self.vms = vms
        self.speed = speed
        self.state = self.folder / "state"
        self.config = self.folder / "nodemeter.toml"
        self.agent = None
        (self.folder / "scenario.json").write_text(json.dumps(scenario(vms, int(name.strip("n")))))
        (self.folder / "key").write_text(KEY)
        self.write_config(urls)

    def write_config(self, urls, user=None, bearer=None):
        if bearer:
            (self.folder / "bearer").write_text(bearer)
        proof = (f'bearer_file = "{self.folder}/bearer"' if bearer else
                 f'clickhouse_user = "{user or "node_" + self.name}"\nclickhouse_key_file = "{self.folder}/key"')
        self.config.write_text(f"""[node]
id = "{self.name}"
[source]
kind = "simulated"
scenario = "{self.folder}/scenario.json"
speed = {self.speed}
[sampling]
interval = "10m"
[state]
path = "{self.state}"
[upload]
url = {json.dumps(urls)}
interval = "60s"
{proof}
[live]
name = "nodemeter-{self.name}-{os.getpid()}"
""")

    def start(self, *arguments):
        self.agent = Process([self.program, "agent", "--config", self.config, *arguments], self.folder / "agent.log")

    def stop(self):
        if self.agent and self.agent.running() and self.agent.stop() != 0:
            raise SiteError(f"the agent failed\n{self.agent.tail()}")

    def wait(self, condition, what):
        end = time.monotonic() + WAIT_S
        while not condition(self.status()):
            if not self.agent.running():
                raise SiteError(f"{self.name}: {what}: the agent ended\n{self.agent.tail()}")
            if time.monotonic() > end:
                raise SiteError(f"{self.name}: {what} within {WAIT_S} s\n{self.agent.tail()}")
            time.sleep(0.1)

    def finish(self):
        """Closes the open hours and delivers what is left."""
        self.stop()
        self.start("--final")
        self.wait(lambda status: status.get("lastSequence", 0) > 0, "the agent did not begin again")
        self.stop()
        info = self.info()
        if info["acknowledgedSequence"] != info["lastSequence"] or info["parked"]:
            raise SiteError(f"{self.name}: not everything was delivered: {info}\n{self.agent.tail()}")

    def ask(self, *arguments):
        return run(self.program, *arguments, "--config", self.config, check=False)

    def status(self):
        done = self.ask("status", "--json")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def info(self):
        return json.loads(self.ask("journal", "info", "--json").stdout)

    def journal(self):
        return [json.loads(line) for line in self.ask("journal", "cat", "--json").stdout.splitlines()]


def expected_row(entry):
    """The columns that ClickHouse has to show for an entry of `journal cat --json`, as it shows them."""
    meters = entry["meters"]
    status = sum(1 << STATUS_BITS.index(bit) for bit in entry["status"].split(",") if bit)

    def seconds(text):
        return text.replace("T", " ").rstrip("Z")

    return (entry["schema"], entry["node"], entry["epoch"], entry["sequence"], entry["kind"], entry["vm"],
            seconds(entry["usageStart"]), seconds(entry["usageEnd"]), seconds(entry["reportedAt"]), entry["subscription"],
            entry["tenant"], entry["resourceUri"], entry["location"], entry["vcores"], entry["billable"],
            entry["coveredMs"], entry["gapMs"], status, [m["meter"] for m in meters], [m["quantity"] for m in meters],
            [m["register"] for m in meters], entry["tags"], entry["detail"], entry["digest"])


def stored_rows(server, node, table="metering.journal FINAL"):
    """Every column of a node's entries. As columns of strings would not show a wrong type, the format is JSON."""
    columns = ", ".join("lower(hex(digest))" if name == "digest" else f"`{name}`" for name in COLUMNS)
    return server.rows(f"SELECT {columns} FROM {table} WHERE node_id = '{node}' ORDER BY epoch, seq, digest")
