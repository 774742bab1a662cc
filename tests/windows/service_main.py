"""Goal: on Windows the agent runs as a service of the system, and what it meters arrives at an aggregator elsewhere.

Method: the real program under Wine's service manager, with simulated guests and fast time, and the real aggregator of the
Linux build with TLS between them. Install twice, start, look at the live view from another process, end it by force,
start again, stop, remove; then every record that the journal calls acknowledged must be at the aggregator, once, and
nothing else.

    service_main.py WINDOWS_BUILD LINUX_BUILD
"""

import json
import random
import shutil
import sys
from pathlib import Path

from wine import Wine  # First: it says where testsite is.

from faults_main import scenario
from testsite import Site, SiteError, main_guard, say, wait_until

NODE = "windows-node"
TOKEN = "a-token-that-only-this-test-knows-0123456789"
SPEED = 3_600  # An hour of the node in a second.
ROWS_MIN = 40


class WindowsNode:
    """nodemeter.exe under Wine, with its configuration where an installation has it."""

    def __init__(self, wine, build, site):
        self.wine = wine
        self.folder = wine.drive / "ProgramData" / "nodemeter"
        programs = wine.drive / "Program Files" / "nodemeter"
        programs.mkdir(parents=True, exist_ok=True)
        self.program = programs / "nodemeter.exe"
        shutil.copy(build / "nodemeter.exe", self.program)
        self.do("service", "uninstall")  # Of a run that was broken off; a folder in use could not be emptied.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(site.folder / "tls" / "ca.pem", self.folder)
        (self.folder / "token").write_text(TOKEN + "\n")
        (self.folder / "scenario.json").write_text(json.dumps(scenario(random.Random(5))))
        data = "C:\\ProgramData\\nodemeter"
        (self.folder / "nodemeter.toml").write_text(f"""[node]
id = "{NODE}"
[source]
kind = "simulated"
scenario = '{data}\\scenario.json'
speed = {SPEED}
[sampling]
interval = "10m"
[upload]
url = ["https://localhost:{site.port}/"]
interval = "1s"
ca_file = '{data}\\ca.pem'
bearer_file = '{data}\\token'
[live]
name = "{site.live}"
""")

    def do(self, *arguments, expect=0):
        done = self.wine.run(self.program, *arguments, timeout=150)
        if expect is not None and done.returncode != expect:
            raise SiteError(f"nodemeter {' '.join(arguments)}: exit {done.returncode}, expected {expect}\n"
                            f"{done.stdout}{done.stderr}")
        return done

    def service_state(self):
        return json.loads(self.do("service", "status", "--json", expect=None).stdout)

    def acknowledged(self):
        return json.loads(self.do("journal", "info", "--json").stdout)["acknowledgedSequence"]

    def journal(self):
        return [json.loads(line) for line in self.do("journal", "cat", "--json").stdout.splitlines()]


def expect(condition, what):
    if not condition:
        raise SiteError(what)


def start(node):
    node.do("service", "start")
    state = node.service_state()
    expect(state["state"] == "running" and state["process"] > 0, f"the service does not run: {state}")
    return state["process"]


def check_running(node, site, rows):
    wait_until(lambda: node.do("status", "--json", expect=None).returncode == 0, "no live view of the service")
    status = json.loads(node.do("status", "--json").stdout)
    expect(status["node"] == NODE, f"the live view is of {status['node']}")
    expect(json.loads(node.do("vms", "--json").stdout), "the live view shows no VMs")
    wait_until(lambda: len(site.received()) >= rows, f"the aggregator did not get {rows} rows", timeout=120)


def compare(node, site):
    acknowledged = node.acknowledged()
    journal = node.journal()
    here = [(e["epoch"], e["sequence"], e["digest"]) for e in journal if e["sequence"] <= acknowledged]
    there = sorted((e["epoch"], e["sequence"], e["digest"]) for e in site.received())
    # What arrived in the last moment may not have been acknowledged: it is in the journal as well.
    all_of_it = {(e["epoch"], e["sequence"], e["digest"]) for e in journal}
    expect(len(there) == len(set(there)), "records were doubled")
    expect(set(here) <= set(there), f"{len(set(here) - set(there))} acknowledged records are not at the aggregator")
    expect(set(there) <= all_of_it, "the aggregator has records that the journal does not have")
    return len(there)


def exercise(node, site):
    expect(node.service_state() == {"state": "not installed"}, "the service is there although it was removed")
    node.do("service", "install")
    node.do("service", "install")  # An upgrade does it again.
    expect(node.service_state()["state"] == "stopped", "the service runs before it was started")
    first = start(node)
    check_running(node, site, ROWS_MIN)
    node.do("service", "reload")
    refused = node.do("agent", expect=1)
    expect("agent.lock" in refused.stderr, f"a second agent was not refused: {refused.stderr}")
    node.wine.run("taskkill", "/F", "/PID", str(first))
    # Wine's manager notices when it is told to start the service, and runs no recovery actions.
    wait_until(lambda: node.do("status", expect=None).returncode == 3, "an ended agent is shown as alive")
    second = start(node)
    expect(second != first, "the same process runs again")
    check_running(node, site, len(site.received()) + ROWS_MIN)
    node.do("service", "stop")
    state = node.service_state()
    expect(state["state"] == "stopped" and state["exitCode"] == 0, f"it was asked to stop and says {state}")
    node.do("journal", "verify")
    rows = compare(node, site)
    node.do("service", "uninstall")
    node.do("service", "uninstall")
    wait_until(lambda: node.service_state() == {"state": "not installed"}, "the service is still there")
    expect((node.folder / "state" / "journal" / "data.mdb").exists(), "the journal went with the service")
    return rows


def main():
    build, linux = (Path(argument).resolve() for argument in sys.argv[1:3])
    folder = build / "service-test"
    shutil.rmtree(folder, ignore_errors=True)
    site = Site(folder, linux, node=NODE, live="nodemeter-windows-test")
    site.client_certificates = False
    (folder / "nodes.json").write_text(json.dumps([{"id": NODE, "token": TOKEN}]))
    with Wine(build / "wine") as wine:
        try:
            site.start_aggregator(simulated=True)
            node = WindowsNode(wine, build, site)
            rows = exercise(node, site)
        finally:
            site.stop()
    say(f"service under Wine: installed, started, killed, started, stopped, removed; {rows} records at the aggregator, "
        f"each once")
    return 0


if __name__ == "__main__":
    main_guard(main)
