"""An aggregator that passes on into ClickHouse: what its nodes sent is in the table as if they had sent it themselves."""

import json
import urllib.request

from cutting_proxy import CuttingProxy
from delivery_cases import compare_rows
from engine import KEY, EngineError
from fleet import check
from node import WAIT_S, Node, insert_url
from testsite import Process, SiteError, wait_until

KILLS = ("stored", "half", "before", "stored")


class Relay:
    """The real aggregator with [forward]. It comes back on the same port."""

    def __init__(self, folder, binaries, url, nodes):
        self.folder = folder
        folder.mkdir()
        self.binaries = binaries
        self.process = None
        self.port = 0
        (folder / "key").write_text(KEY)
        (folder / "nodes.json").write_text(json.dumps([{"id": node, "token": f"token-of-the-node-{node}"} for node in nodes]))
        (folder / "relay.toml").write_text(f"""[state]
path = "{folder}/state"
[nodes]
file = "{folder}/nodes.json"
[trial]
allow_simulated = true
[forward]
url = {json.dumps(url)}
interval = "100ms"
clickhouse_user = "relay_site_a"
clickhouse_key_file = "{folder}/key"
""")

    def start(self):
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        self.process = Process([self.binaries / "nodemeter-aggregator", "--config", self.folder / "relay.toml", "--listen",
                                f"127.0.0.1:{self.port}", "--port-file", port_file], self.folder / "relay.log")
        wait_until(port_file.exists, "the relay did not start", self.process)
        self.port = int(port_file.read_text())

    def backlog(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("nodemeter_aggregator_forward_backlog_rows{"))

    def stop(self):
        if self.process and self.process.running() and self.process.stop() != 0:
            raise SiteError(f"the relay failed\n{self.process.tail()}")


def relay_is_killed(server, folder, binaries, names):
    """SIGKILL to the relay before, within and after a request of its own to the engine. Two nodes deliver to it."""
    proxy = CuttingProxy(server.http_port)
    relay = Relay(folder / "relay", binaries, insert_url(proxy), names)
    nodes = []
    try:
        relay.start()
        for name in names:
            url = [f"http://127.0.0.1:{relay.port}/"]
            node = Node(folder / f"{name}-relayed", binaries, name, url)
            node.write_config(url, bearer=f"token-of-the-node-{name}")
            nodes.append(node)
            node.start()
        for moment in KILLS:
            proxy.plan(moment, lambda: relay.process.kill())
            if not proxy.done.wait(WAIT_S):
                raise EngineError(f"the relay sent nothing to be killed in\n{relay.process.tail()}")
            relay.start()
        for node in nodes:
            node.finish()
        wait_until(lambda: relay.backlog() == 0, "not everything was passed on", relay.process, WAIT_S)
        relay.stop()
        for node in nodes:
            rows = compare_rows(server, node)
            mine = f"node_id = '{node.name}'"
            check(f"{node.name}: enough was passed on", rows > 20, True)
            check(f"{node.name}: no findings", server.rows(f"SELECT * FROM metering.findings WHERE {mine}"), [])
    finally:
        for node in nodes:
            node.stop()
        relay.stop()
        proxy.stop()
