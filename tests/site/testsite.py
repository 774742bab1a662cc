"""A small site on this machine: an aggregator and an agent with TLS between them, started and ended by process id.

Used by platform/try and by the end-to-end tests. Everything lives below one folder and stays there for inspection.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "tests" / "guests" / "guests"


class SiteError(Exception):
    """What went wrong, as one sentence for the person who started this."""


def run(*command, check=True, **options):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)
    if check and done.returncode != 0:
        what = " ".join(str(c) for c in command)
        raise SiteError(f"{what}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def make_certificates(folder, node):
    """A private authority, a certificate for the aggregator on loopback, one for the node."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "node.pem").exists():
        return

    def openssl(*arguments):
        run("openssl", *arguments, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=nodemeter trial authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, subject, extra in (("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                                 ("node", f"/CN={node}", "extendedKeyUsage=clientAuth")):
        (folder / f"{name}.ext").write_text(extra + "\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", subject)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "3650", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Process:
    """A child that is ended by its own id only."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self, timeout=90):
        if self.running():
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SiteError(f"process {self.pid} did not stop within {timeout} s; see {self.log}") from None

    def tail(self):
        return "".join(Path(self.log).read_text(errors="replace").splitlines(keepends=True)[-15:])


def wait_until(condition, what, process=None, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        if process and not process.running():
            raise SiteError(f"{what}: it ended with {process.child.returncode}\n{process.tail()}")
        if time.monotonic() > end:
            raise SiteError(f"{what} within {timeout} s" + (f"\n{process.tail()}" if process else ""))
        time.sleep(0.05)


class Site:
    def __init__(self, folder, binaries, node="trial-node", interval="2s", upload_interval="5s", live=None,
                 plain=False):
        self.folder = Path(folder)
        self.binaries = Path(binaries)
        self.node = node
        self.interval = interval
        self.upload_interval = upload_interval
        self.live = live or f"nodemeter-{os.getpid()}"
        self.state = self.folder / "node"
        self.store = self.folder / "aggregator"
        self.config = self.folder / "nodemeter.toml"
        self.source = {"kind": "libvirt"}
        self.client_certificates = True  # Else nodes.json holds tokens.
        self.plain = plain  # No TLS: something in between has to see what travels.
        self.port = 0
        self.aggregator = None
        self.agent = None
        for path in (self.folder, self.state, self.store):
            path.mkdir(parents=True, exist_ok=True)
        if not plain:
            make_certificates(self.folder / "tls", node)
        nodes = [{"id": node, "certificate_name": node}]
        (self.folder / "nodes.json").write_text(json.dumps(nodes))

    # -- programs

    def nodemeter(self, *arguments, check=True):
        return run(self.binaries / "nodemeter", *arguments, "--config", self.config, check=check)

    def aggregator_tool(self, *arguments, check=True):
        return run(self.binaries / "nodemeter-aggregator", *arguments, check=check)

    def start_aggregator(self, simulated=False):
        tls = self.folder / "tls"
        port_file = self.folder / "aggregator.port"
        port_file.unlink(missing_ok=True)
        command = [self.binaries / "nodemeter-aggregator", "--listen", f"127.0.0.1:{self.port}", "--state", self.store,
                   "--port-file", port_file]
        if not self.plain:
            command += ["--cert", tls / "server.pem", "--key", tls / "server.key", "--nodes", self.folder / "nodes.json"]
            if self.client_certificates:
                command += ["--client-ca", tls / "ca.pem"]
        if simulated:
            command.append("--allow-simulated")
        self.aggregator = Process(command, self.folder / "aggregator.log")
        wait_until(port_file.exists, "the aggregator did not start", self.aggregator)
        # Restarts listen where the agent's configuration says.
        self.port = int(port_file.read_text())

    def write_config(self, port=None, url=None, upload=""):
        """`port`: of something between agent and aggregator; `url`, `upload`: of another receiver, further settings."""
        tls = self.folder / "tls"
        security = "" if self.plain else f"""ca_file = "{tls}/ca.pem"
cert_file = "{tls}/node.pem"
key_file = "{tls}/node.key"
"""
        target = url or f"http{'' if self.plain else 's'}://127.0.0.1:{port or self.port}/"
        source = "\n".join(f"{key} = {json.dumps(value)}" for key, value in self.source.items())
        self.config.write_text(f"""[node]
id = "{self.node}"
[source]
{source}
[sampling]
interval = "{self.interval}"
[state]
path = "{self.state}"
[upload]
url = ["{target}"]
interval = "{self.upload_interval}"
{security}{upload}[live]
name = "{self.live}"
""")

    def start_agent(self, *arguments):
        self.agent = Process([self.binaries / "nodemeter", "agent", "--config", self.config, *arguments],
                             self.folder / "agent.log")

    def status(self):
        done = self.nodemeter("status", "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_for_agent(self):
        wait_until(lambda: self.status() is not None, "the agent did not begin to meter", self.agent)

    def stop(self):
        for process in (self.agent, self.aggregator):
            if process and process.running():
                process.stop()

    # -- both ends

    def journal(self):
        return [json.loads(line) for line in self.nodemeter("journal", "cat", "--json").stdout.splitlines()]

    def received(self):
        done = self.aggregator_tool("rows", "--state", self.store, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def compare(self, rows=None):
        """Record by record: what is only here, only there, and how many are the same. `rows`: of another receiver."""
        here = {(e["epoch"], e["sequence"], e["digest"]) for e in self.journal()}
        if rows is None:
            rows = [(e["epoch"], e["sequence"], e["digest"]) for e in self.received()]
        there = set(rows)
        return {"same": len(here & there), "only_journal": sorted(here - there), "only_aggregator": sorted(there - here),
                "doubled": len(rows) - len(there)}


def memory(pid):
    """Private and resident memory of a process in KiB."""
    figures = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            figures[name] = int(rest.split()[0])
    return {"private": figures["Private_Clean"] + figures["Private_Dirty"], "resident": figures["Rss"]}


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, flush=True)


def main_guard(main):
    """Runs main(); a SiteError is one sentence and exit 1, Ctrl-C is not a traceback."""
    try:
        sys.exit(main())
    except SiteError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
