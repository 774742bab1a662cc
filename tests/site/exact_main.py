"""Goal: the numbers of a real guest are exact.

Method: a guest does a known amount of I/O and is paused; then QEMU's own counters, read through libvirt, must equal what
was metered, to the byte and the operation. Its allocated time must equal vcores times the time between the instants in
its arrival and departure entries, to the millisecond. What the guest's own kernel counted may differ by what the harness
documents: the firmware's one boot read.

    exact_main.py BINARIES FOLDER
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from testsite import GUESTS, Site, SiteError, cpu_seconds, main_guard, memory, run, say

WRITES, READS = 2000, 1000
FIRMWARE_READ = {"reqs": 1, "bytes": 512}


def check(name, metered, expected):
    verdict = "ok" if metered == expected else "WRONG"
    say(f"  {name:28} metered {metered:>14}  expected {expected:>14}  {verdict}")
    return metered == expected


def detail(entry):
    return json.loads(entry["detail"])


def meters(entries, vm):
    totals = {}
    for entry in entries:
        if entry["kind"] == "usage" and entry["vm"] == vm:
            for meter in entry["meters"]:
                totals[meter["name"]] = totals.get(meter["name"], 0) + int(meter["quantity"])
    return totals


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    guests = folder / "guests"
    site = None

    def guest(verb, *arguments):
        return run(GUESTS, verb, guests, *arguments).stdout.strip()

    try:
        up = guest("up", "--count", "1")  # A neighbour, so that the node is not idle.
        uri = shlex.split(dict(line.split("=", 1) for line in up.splitlines() if "=" in line)["URI_RO"])[0]
        site = Site(folder / "site", binaries, interval="1s", upload_interval="2s")
        site.source = {"kind": "libvirt", "uri": uri}
        site.start_aggregator()
        site.write_config()
        site.start_agent("--final")
        site.wait_for_agent()

        vm = guest("define", "exact", "--vcpus", "2", "--loops", "1", "--wblk", WRITES, "--rblk", READS)
        guest("start", "exact")
        guest("wait", "exact")
        truth = json.loads(guest("truth", "exact"))
        guest("suspend", "exact")
        stats = json.loads(guest("stats", "exact"))
        begin, begin_cpu = time.monotonic(), cpu_seconds(site.agent.pid)
        time.sleep(5)  # Several samples see the paused guest.
        cpu = (cpu_seconds(site.agent.pid) - begin_cpu) / (time.monotonic() - begin) * 100
        after = json.loads(guest("stats", "exact"))
        guest("destroy", "exact")
        guest("undefine", "exact")
        time.sleep(3)
        ram = memory(site.agent.pid)
        if site.agent.stop() != 0:
            raise SiteError(f"the agent failed\n{site.agent.tail()}")
        site.aggregator.stop()

        entries = site.journal()
        totals = meters(entries, vm)
        events = [(e, detail(e)) for e in entries if e["kind"] == "event" and e["vm"] == vm]
        arrived = next(d for _, d in events if d["event"] == "arrived")
        departed = next(d for _, d in events if d["event"] == "departed")
        present = departed["monotonic_ms"] - arrived["monotonic_ms"]
        say(f"guest {vm}: present {present} ms; {len(entries)} entries")
        net = next(i for i in range(stats["net.count"]))
        right = [
            check("vm-hours (ms)", totals["vm-hours"], present),
            check("base-vm-hours (vcore ms)", totals["base-vm-hours"], 2 * present),
            check("disk-write-operations", totals["disk-write-operations"], stats["block.0.wr.reqs"]),
            check("disk-write-bytes", totals["disk-write-bytes"], stats["block.0.wr.bytes"]),
            check("disk-read-operations", totals["disk-read-operations"], stats["block.0.rd.reqs"]),
            check("disk-read-bytes", totals["disk-read-bytes"], stats["block.0.rd.bytes"]),
            check("network-receive-bytes", totals["network-receive-bytes"], after[f"net.{net}.rx.bytes"]),
            check("network-receive-packets", totals["network-receive-packets"], after[f"net.{net}.rx.pkts"]),
            check("network-transmit-bytes", totals["network-transmit-bytes"], stats[f"net.{net}.tx.bytes"]),
            check("network-transmit-packets", totals["network-transmit-packets"], stats[f"net.{net}.tx.pkts"]),
            check("guest's own: writes", totals["disk-write-operations"], truth["wr"]["reqs"]),
            check("guest's own: bytes written", totals["disk-write-bytes"], truth["wr"]["bytes"]),
            check("guest's own: reads", totals["disk-read-operations"], truth["rd"]["reqs"] + FIRMWARE_READ["reqs"]),
            check("guest's own: bytes read", totals["disk-read-bytes"], truth["rd"]["bytes"] + FIRMWARE_READ["bytes"]),
            check("guest's own: bytes sent", totals["network-transmit-bytes"], truth["tx"]["bytes"]),
        ]
        ends = site.compare()
        right.append(check("records only at one end", len(ends["only_journal"]) + len(ends["only_aggregator"]), 0))
        right.append(check("records doubled", ends["doubled"], 0))
        say(f"agent at 1 s sampling: {ram['private']} KiB private, {ram['resident']} KiB resident, {cpu:.2f} % of a core")
        say(f"{sum(right)} passed, {len(right) - sum(right)} failed")
        return 0 if all(right) else 1
    finally:
        if site:
            site.stop()
        subprocess.run([str(GUESTS), "down", str(guests)], check=False)


if __name__ == "__main__":
    main_guard(main)
