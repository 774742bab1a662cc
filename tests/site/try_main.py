"""What platform/try does after the build: guests, aggregator, agent, a live table, and both ends compared."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from testsite import GUESTS, Site, SiteError, cpu_seconds, main_guard, memory, run, say


def running_guests(uri):
    """Guests of a libvirt that this machine already has."""
    if not shutil.which("virsh") or not Path("/run/libvirt/libvirt-sock-ro").exists():
        return 0
    done = run("virsh", "-r", "-c", uri, "list", "--state-running", "--name", check=False)
    return len(done.stdout.split()) if done.returncode == 0 else 0


def show(site, seconds, interrupted):
    end = time.monotonic() + seconds
    terminal = sys.stdout.isatty()
    while time.monotonic() < end and not interrupted:
        if not site.agent.running():
            raise SiteError(f"the agent ended\n{site.agent.tail()}")
        shown = site.nodemeter("vms", check=False)
        left = int(end - time.monotonic())
        if terminal:
            print("\x1b[H\x1b[2J", end="")
        say(f"metering, {left} s left (Ctrl-C ends it)\n{shown.stdout or shown.stderr}")
        time.sleep(min(2 if terminal else 10, max(0, end - time.monotonic())))


def report(site, started, cpu, ram):
    say("\nWhat was metered (this hour's records were closed early, because the trial ends):\n")
    usage = site.nodemeter("usage", "--granularity", "hourly", "--start", started, "--end", later(), check=False)
    say(usage.stdout + usage.stderr)
    say(site.nodemeter("gaps", check=False).stdout)
    verified = site.nodemeter("journal", "verify", check=False)
    say((verified.stdout + verified.stderr).strip())
    info = json.loads(site.nodemeter("journal", "info", "--json").stdout)
    ends = site.compare()
    say(f"\njournaled: {info['lastSequence']} records; acknowledged: {info['acknowledgedSequence']}")
    say(f"compared record by record: {ends['same']} the same at both ends, {len(ends['only_journal'])} only in the journal, "
        f"{len(ends['only_aggregator'])} only at the aggregator, {ends['doubled']} doubled")
    say(f"agent: {ram['private']} KiB private memory, {ram['resident']} KiB resident, {cpu:.2f} % of one core "
        f"at {site.interval} sampling")
    say(f"state for inspection: {site.folder}")
    wrong = ends["only_journal"] or ends["only_aggregator"] or ends["doubled"] or verified.returncode != 0
    return 1 if wrong or ends["same"] == 0 else 0


def later():
    return time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(time.time() + 3600))


def main():
    binaries = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2])
    folder = binaries / "site"
    if folder.exists():
        shutil.rmtree(folder)
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    signal.signal(signal.SIGTERM, lambda *_: interrupted.append(True))

    guests = None
    site = None
    try:
        say("3/4  guests and programs")
        uri = "qemu:///system"
        if running_guests(uri):
            say(f"     metering the {running_guests(uri)} running guests of {uri}")
        else:
            guests = folder.parent / "guests"
            say("     no running guests here: starting two small ones under emulation")
            done = run(GUESTS, "up", guests, "--count", "2")
            environment = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
            uri = shlex.split(environment["URI_RO"])[0]
        site = Site(folder, binaries)
        site.source = {"kind": "libvirt", "uri": uri}
        site.start_aggregator()
        site.write_config()
        started = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime())
        site.start_agent("--final")
        site.wait_for_agent()
        say("4/4  metering")
        begin, begin_cpu = time.monotonic(), cpu_seconds(site.agent.pid)
        show(site, seconds, interrupted)
        cpu = (cpu_seconds(site.agent.pid) - begin_cpu) / max(0.001, time.monotonic() - begin) * 100
        ram = memory(site.agent.pid)
        say("stopping: the open hour is closed, everything is delivered")
        code = site.agent.stop()
        if code != 0:
            raise SiteError(f"the agent ended with {code}\n{site.agent.tail()}")
        site.aggregator.stop()
        return report(site, started, cpu, ram)
    finally:
        if site:
            site.stop()
        if guests:
            subprocess.run([str(GUESTS), "down", str(guests)], check=False)


if __name__ == "__main__":
    os.umask(0o022)
    main_guard(main)
