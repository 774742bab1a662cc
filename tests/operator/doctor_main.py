"""Goal: `doctor` names every fault of a node in one line, with what to do, and its exit code tells a script.

Method: a healthy site with TLS; then one fault after another is made for real (files changed, processes ended, other
certificates, wrong names, a full disk), and the line about it is looked for; the healthy state has no `fail`.

    doctor_main.py BINARIES FOLDER
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from desk import Desk, guest, make_certificates, run, say

PROBLEMS = ("fail", "unknown")


class Doctor(Desk):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.plain_config = ""
        self.unsynchronised = False

    def look(self, *arguments):
        done = self.site.nodemeter("doctor", "--json", *arguments, check=False)
        return done.returncode, json.loads(done.stdout or "[]")

    def expect(self, what, check, health, words, code, *arguments):
        """The one finding of that health and check says these words and, unless fine, what to do."""
        returned, findings = self.look(*arguments)
        code = max(code, 1) if self.unsynchronised else code
        found = [f for f in findings if f["check"] == check and f["health"] == health
                 and all(word in f["finding"] + f["action"] for word in words)]
        advised = health == "ok" or any(f["action"] for f in found)
        self.claim(f"{what}: {health} {check}, exit {code}", found and advised and returned == code, (returned, findings))

    def configure(self, *changes):
        text = self.plain_config
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{old} is not in the configuration")
            text = text.replace(old, new)
        self.site.config.write_text(text)


@contextmanager
def moved(path):
    aside = Path(f"{path}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def answering(reply):
    """A plain server that gives every connection the same bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    connection.recv(65536)
                    connection.sendall(reply)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def certificates(desk):
    tls = desk.folder / "tls"
    desk.expect("valid certificates", "certificate", "ok", ["node.pem", "valid until"], 0)
    with moved(tls / "node.pem"):
        desk.expect("a certificate that is not there", "certificate", "fail", ["cert_file", "No such file"], 1)
    with moved(tls / "node.pem"):
        (tls / "node.pem").write_text("nothing")
        desk.expect("a certificate that is none", "certificate", "fail", ["holds no PEM certificate"], 1)
    with moved(tls / "node.key"):
        shutil.copy(tls / "server.key", tls / "node.key")
        desk.expect("another certificate's key", "certificate", "fail", ["is not the key of"], 1)
    for days, health, words in ((-1, "fail", "expired at"), (5, "warn", "expires at")):
        with moved(tls / "node.pem"):
            run("openssl", "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                days, "-extfile", "node.ext", "-out", "node.pem", cwd=tls)
            desk.expect(f"a certificate with {days} days left", "certificate", health, ["node.pem", words, "renew"],
                        1 if health == "fail" else 0)


def aggregator(desk):
    port = desk.site.port
    desk.expect("the aggregator", "aggregator", "ok", [f":{port}", "is reached and answers (400)"], 0)
    local = f"127.0.0.1:{port}"
    desk.configure((local, f"no-such-host.invalid:{port}"))
    desk.expect("a name that does not resolve", "aggregator", "fail", ["resolve", "DNS"], 1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = free.getsockname()[1]
    desk.configure((local, f"127.0.0.1:{unused}"))
    desk.expect("nobody listens", "aggregator", "fail", [f":{unused}", "whether the aggregator runs"], 1)
    desk.configure((local, f"127.0.0.2:{port}"))
    desk.expect("an address that nobody has", "aggregator", "fail", ["127.0.0.2"], 1)
    make_certificates(desk.folder / "other", "nobody")
    desk.configure((f"{desk.folder}/tls/ca.pem", f"{desk.folder}/other/ca.pem"))
    desk.expect("an authority that did not sign the aggregator", "aggregator", "fail", ["certificate", "TLS", "ca_file"], 1)
    desk.configure((f'cert_file = "{desk.folder}/tls/node.pem"\nkey_file = "{desk.folder}/tls/node.key"\n', ""))
    desk.expect("no client certificate", "aggregator", "fail", ["401", "certificate or token"], 1)
    desk.configure(('id = "trial-node"', 'id = "other-node"'))
    desk.expect("another node's certificate", "aggregator", "fail", ["403", "other-node"], 1)
    # `plaintext` is not needed for loopback.
    for reply, health, words, code in ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin", "warn", "page of a proxy", 0),
                                       (b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n", "warn", "503", 0),
                                       (b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n", "fail", "404", 1)):
        with answering(reply) as plain:
            desk.configure((f"https://{local}/", f"http://127.0.0.1:{plain}/"))
            desk.expect(f"an answer of {reply[9:12].decode()} that is not an aggregator's", "aggregator", health, [words], code)
    desk.configure((f'"https://{local}/"', ""))
    desk.expect("no aggregator", "aggregator", "warn", ["none is configured"], 0)
    desk.configure()


def permissions(desk):
    key = desk.folder / "tls" / "node.key"
    for path, health in ((key, "fail"), (desk.site.state / "journal", "warn"), (desk.site.state / "signing.key", "fail")):
        before = path.stat().st_mode
        path.chmod(before | 0o004)
        desk.expect(f"{path.name} that everybody reads", "permissions", health, [path.name, "chmod o-rwx"],
                    1 if health == "fail" else 0)
        path.chmod(before)
    if os.geteuid() == 0:
        # As an account that may read the configuration and the program, and nothing else.
        with tempfile.TemporaryDirectory() as open_to_all:
            program, config = (shutil.copy(path, open_to_all) for path in (desk.site.binaries / "nodemeter", desk.site.config))
            Path(open_to_all).chmod(0o755)
            Path(config).chmod(0o644)
            done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "doctor",
                                   "--config", config], text=True, capture_output=True)
        unknown = [line for line in done.stdout.splitlines() if line.startswith("unknown")]
        desk.claim("an account without rights is told which one to take", done.returncode in (1, 3) and
                   any("journal" in line and "sudo -u nodemeter" in line for line in unknown) and
                   any("live view" in line and "usermod -aG" in line for line in unknown), done)


def disk(desk):
    if os.geteuid() != 0:
        return
    small = desk.folder / "small"
    small.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", small, check=False).returncode != 0:
        say("no tmpfs can be mounted here: the full disk is left out")
        return
    try:
        desk.expect("a disk with hardly any room", "disk", "fail", ["free space there now"], 1, "--state", small)
    finally:
        run("umount", small)


def store(desk):
    desk.expect("the journal", "journal", "ok", ["the last hour holds"], 0)
    data = desk.site.state / "journal" / "data.mdb"
    copy = desk.folder / "damaged"
    (copy / "journal").mkdir(parents=True)
    copy.chmod(0o750)
    image = bytearray(data.read_bytes())
    for at in range(8192, len(image)):  # All but the two pages that lead to the rest.
        image[at] ^= 0x55
    (copy / "journal" / "data.mdb").write_bytes(image)
    desk.expect("a damaged journal", "journal", "fail", ["nodemeter journal"], 1, "--state", copy)
    desk.expect("no journal", "journal", "fail", ["start the agent once"], 1, "--state", desk.folder / "nothing")


def configuration_and_source(desk):
    desk.expect("simulated guests", "source", "warn", ["none of them is real"], 0)
    with moved(desk.folder / "scenario.json"):
        desk.expect("a source that cannot be opened", "source", "fail", ["scenario.json"], 1)
    desk.configure(('kind = "simulated"', 'kind = "libvirt"\nuri = "qemu+unix:///system?socket=/nowhere"'),
                   ("speed = 60", "speed = 1"))
    desk.expect("a hypervisor that does not answer", "source", "fail", ["libvirt", "whether the hypervisor runs"], 1)
    owners = desk.folder / "owners.json"
    desk.configure(("[live]", f'[owners]\nfile = "{owners}"\n[live]'))
    desk.expect("an owners file that is not there", "owners", "fail", ["owners.json", "owners.file"], 1)
    owners.write_text('{ "vms": { "nobody": {} } }')
    desk.expect("an owners file that is wrong", "owners", "fail", ["owners.json", "nobody"], 1)
    owners.write_text('{ "vms": {} }')
    desk.expect("an owners file", "owners", "ok", ["0 entries"], 0)
    desk.configure(('interval = "1s"', 'intervall = "1s"'))
    desk.expect("a wrong configuration", "configuration", "fail", ["intervall", "nodemeter config check"], 2)
    desk.configure()


def agent(desk):
    desk.configure((f'name = "{desk.site.live}"', 'name = "nobody-here"'))
    desk.expect("no agent under that name", "agent", "fail", ["none is running", "systemctl start"], 1)
    desk.configure()
    desk.site.agent.kill()
    desk.expect("an agent that was killed", "agent", "fail", ["ended without a word", "systemctl start"], 1)


def healthy(desk):
    site = desk.site
    site.state.chmod(0o750)
    site.start_aggregator(simulated=True)
    site.write_config()
    desk.plain_config = site.config.read_text()
    desk.folder.chmod(0o755)
    desk.start()
    code, findings = desk.look()
    failed = [f["check"] for f in findings if f["health"] in PROBLEMS]
    # A container's clock is its host's, and may be nobody's.
    desk.unsynchronised = failed == ["clock"]
    desk.claim("on a healthy node nothing fails", failed in ([], ["clock"]) and code == len(failed), findings)
    text = site.nodemeter("doctor", check=False).stdout
    desk.claim("one line a finding, health first", len(text.splitlines()) == len(findings) and
               all(line.split()[0] in ("ok", "warn", "fail") for line in text.splitlines()), text)


def main():
    desk = Doctor(sys.argv[1], sys.argv[2], "nodemeter-doctor", [guest(1, "web-1"), guest(2, "web-2")], speed=60)
    site = desk.site
    site.plain = False
    tls = desk.folder / "tls"
    make_certificates(tls, site.node)
    (tls / "node.key").chmod(0o600)
    try:
        healthy(desk)
        for part in (certificates, aggregator, permissions, disk, store, configuration_and_source, agent):
            part(desk)
    finally:
        code = desk.end()
    return code


if __name__ == "__main__":
    sys.exit(main())
