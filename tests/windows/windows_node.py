"""nodemeter as a service of Windows, under Wine, and the aggregator of the Linux build that it delivers to."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

from wine import Wine  # First: it says where testsite is.

from testsite import Site, SiteError, wait_until

NODE = "windows-node"
TOKEN = "a-token-that-only-this-test-knows-0123456789"
DATA = "C:\\ProgramData\\nodemeter"


class WindowsNode:
    """nodemeter.exe under Wine, with its configuration where an installation has it."""

    def __init__(self, wine, build, site, settings):
        self.wine = wine
        self.build = build
        self.folder = wine.drive / "ProgramData" / "nodemeter"
        programs = wine.drive / "Program Files" / "nodemeter"
        self.program = programs / "nodemeter.exe"
        if self.program.exists():
            self.do("service", "uninstall")  # Of a run that was broken off; a folder in use could not be emptied.
        shutil.rmtree(programs, ignore_errors=True)
        programs.mkdir(parents=True)
        shutil.copy(build / "nodemeter.exe", self.program)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(site.folder / "tls" / "ca.pem", self.folder)
        (self.folder / "token").write_text(TOKEN + "\n")
        (self.folder / "nodemeter.toml").write_text(f"""[node]
id = "{NODE}"
{settings}
[upload]
url = ["https://localhost:{site.port}/"]
interval = "1s"
ca_file = '{DATA}\\ca.pem'
bearer_file = '{DATA}\\token'
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


def check_running(node, site):
    wait_until(lambda: node.do("status", "--json", expect=None).returncode == 0, "no live view of the service")
    status = json.loads(node.do("status", "--json").stdout)
    expect(status["node"] == NODE, f"the live view is of {status['node']}")
    expect(json.loads(node.do("vms", "--json").stdout), "the live view shows no VMs")


def make_site(folder, linux):
    """The aggregator's side, which knows the node by its token."""
    shutil.rmtree(folder, ignore_errors=True)
    site = Site(folder, linux, node=NODE, live="nodemeter-windows-test")
    site.client_certificates = False
    (folder / "nodes.json").write_text(json.dumps([{"id": NODE, "token": TOKEN}]))
    return site


@contextlib.contextmanager
def windows_site(name, settings, simulated=False):
    """A node under Wine and its aggregator, of the builds that the command line names: WINDOWS_BUILD LINUX_BUILD."""
    build, linux = (Path(argument).resolve() for argument in sys.argv[1:3])
    site = make_site(build / name, linux)
    with Wine(build / "wine") as wine:
        try:
            site.start_aggregator(simulated)
            yield WindowsNode(wine, build, site, settings), site
        finally:
            site.stop()


def compare(node, site):
    """How many records are at the aggregator. What is acknowledged is there, all of it is in the journal, each once."""
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
