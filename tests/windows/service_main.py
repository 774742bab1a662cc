"""Goal: on Windows the agent runs as a service of the system, and what it meters arrives at an aggregator elsewhere.

Method: the real program under Wine's service manager, with simulated guests and fast time, and the real aggregator of the
Linux build with TLS between them. Install twice, start, look at the live view from another process, end it by force,
start again, stop, remove; then every record that the journal calls acknowledged must be at the aggregator, once, and
nothing else.

    service_main.py WINDOWS_BUILD LINUX_BUILD
"""

import json
import random
import sys
from pathlib import Path

from wine import Wine  # First: it says where testsite is.

from faults_main import scenario
from testsite import main_guard, say, wait_until
from windows_node import DATA, WindowsNode, check_running, compare, expect, make_site, start

SPEED = 3_600  # An hour of the node in a second.
ROWS_MIN = 40
SETTINGS = f"""[source]
kind = "simulated"
scenario = '{DATA}\\scenario.json'
speed = {SPEED}
[sampling]
interval = "10m"
"""


def wait_for_rows(site, rows):
    wait_until(lambda: len(site.received()) >= rows, f"the aggregator did not get {rows} rows", timeout=120)


def exercise(node, site):
    expect(node.service_state() == {"state": "not installed"}, "the service is there although it was removed")
    node.do("service", "install")
    node.do("service", "install")  # An upgrade does it again.
    expect(node.service_state()["state"] == "stopped", "the service runs before it was started")
    first = start(node)
    check_running(node, site)
    wait_for_rows(site, ROWS_MIN)
    node.do("service", "reload")
    refused = node.do("agent", expect=1)
    expect("agent.lock" in refused.stderr, f"a second agent was not refused: {refused.stderr}")
    node.wine.run("taskkill", "/F", "/PID", str(first))
    # Wine's manager notices when it is told to start the service, and runs no recovery actions.
    wait_until(lambda: node.do("status", expect=None).returncode == 3, "an ended agent is shown as alive")
    second = start(node)
    expect(second != first, "the same process runs again")
    check_running(node, site)
    wait_for_rows(site, len(site.received()) + ROWS_MIN)
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
    site = make_site(build / "service-test", linux)
    with Wine(build / "wine") as wine:
        try:
            site.start_aggregator(simulated=True)
            node = WindowsNode(wine, build, site, SETTINGS)
            (node.folder / "scenario.json").write_text(json.dumps(scenario(random.Random(5))))
            rows = exercise(node, site)
        finally:
            site.stop()
    say(f"service under Wine: installed, started, killed, started, stopped, removed; {rows} records at the aggregator, "
        f"each once")
    return 0


if __name__ == "__main__":
    main_guard(main)
