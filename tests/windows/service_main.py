"""Goal: on Windows the agent runs as a service of the system, and what it meters arrives at an aggregator elsewhere.

Method: the real program under Wine's service manager, with simulated guests and fast time, and the real aggregator of the
Linux build with TLS between them. Install twice, start, look at the live view from another process, end it by force,
start again, stop, remove; then every record that the journal calls acknowledged must be at the aggregator, once, and
nothing else.

    service_main.py WINDOWS_BUILD LINUX_BUILD
"""

import json
import random

from windows_node import DATA, check_running, compare, expect, start, windows_site  # First: it says where testsite is.

from faults_main import scenario
from testsite import main_guard, say, wait_until

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
    newer = node.program.parent / "newer.exe"
    newer.write_bytes(node.program.read_bytes() + b"newer")
    node.do("service", "upgrade", node.wine.path(newer))  # While it meters: hyperv_service_main.py.
    expect(node.program.read_bytes() == newer.read_bytes(), "the upgrade has not replaced the program")
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
    with windows_site("service-test", SETTINGS, simulated=True) as (node, site):
        (node.folder / "scenario.json").write_text(json.dumps(scenario(random.Random(5))))
        rows = exercise(node, site)
    say(f"service under Wine: installed, started, killed, started, stopped, removed; {rows} records at the aggregator, "
        f"each once")
    return 0


if __name__ == "__main__":
    main_guard(main)
