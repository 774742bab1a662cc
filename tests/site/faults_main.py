"""Goal: whatever the network does and whenever either program is killed, the receiver ends with exactly the journal.

Method: for each seed a node with simulated guests and fast time, an aggregator, and between them a proxy that breaks
connections; both programs are killed with SIGKILL at moments drawn from the seed. Then the network heals, the agent
finishes, and every record of the journal must be at the aggregator exactly once with its digest, both chains verified,
nothing parked. The moments follow from the seed; what the programs did by then does not, so a finding is kept. Last, a
proxy that acknowledges everything and passes nothing on: the judge must complain, or it judges nothing.

    faults_main.py BINARIES FOLDER [SEEDS] [FIRST] [MINUTES]
"""

import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from fault_proxy import FaultProxy
from testsite import Site, SiteError, main_guard, say

SPEED = 12_000  # More than three hours of the node in a second.


def moment(hour, minute):
    return f"2026-01-{1 + hour // 24:02}T{hour % 24:02}:{minute:02}:00Z"


def scenario(dice):
    """Guests that start, stop and move, so that there are events, too. Times are the node's own."""
    guests, events = [], []
    for number in range(dice.randint(1, 4)):
        guest = f"6f1c2d3e-0000-4000-8000-{number:012x}"
        guests.append({"id": guest, "name": f"vm{number}", "vcores": dice.choice([1, 2, 4]), "memory_mib": 512,
                       "subscription": "11111111-2222-4333-8444-555555555555", "cpu_percent": 25,
                       "disks": [{"id": "sda", "capacity_mib": 1024, "read_bytes_per_s": 1000, "write_bytes_per_s": 10,
                                  "read_operations_per_s": 1, "write_operations_per_s": 1}],
                       "nics": []})
        for hour in range(1, 72):
            events.append({"at": moment(hour, dice.randint(0, 28)), "do": "stop", "vm": guest})
            events.append({"at": moment(hour, dice.randint(30, 58)), "do": "start", "vm": guest})
    events.sort(key=lambda event: event["at"])
    return {"start": "2026-01-01T00:00:00Z", "end": "2026-01-04T00:00:00Z", "sample_interval_s": 60, "vms": guests,
            "events": events}


class FaultyNode:
    """A node whose way to the receiver suffers: an agent with simulated guests and fast time, and the proxy before it."""

    def __init__(self, binaries, folder, seed, node="trial-node"):
        self.dice = random.Random(seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "scenario.json").write_text(json.dumps(scenario(self.dice)))
        self.site = Site(folder, binaries, node=node, interval="10m", upload_interval=self.dice.choice(["0s", "60s", "20m"]),
                         live=f"nodemeter-{folder.name}", plain=True)
        self.site.source = {"kind": "simulated", "scenario": str(folder / "scenario.json"), "speed": SPEED}
        self.proxy = None
        self.killed = Counter()

    def start(self, port, config=None):
        """`config`: what Site.write_config() takes for the proxy's port."""
        self.proxy = FaultProxy(port, self.dice.random(), share=self.dice.choice([0.3, 0.6, 0.9]))
        self.site.write_config(**(config(self.proxy.port) if config else {"port": self.proxy.port}))
        self.site.start_agent()

    def finish(self):
        """The network heals, and the agent, killed once more, delivers what is left."""
        self.site.agent.kill()
        self.killed["agent"] += 1
        self.proxy.share = 0
        self.site.start_agent("--final")
        self.site.wait_for_agent()
        if self.site.agent.stop() != 0:
            raise SiteError(f"the last agent failed\n{self.site.agent.tail()}")

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        self.site.stop()

    def judge(self, rows=None):
        """How many records are the same at both ends, and what is wrong."""
        here = self.site.nodemeter("journal", "verify", check=False)
        parked = json.loads(self.site.nodemeter("journal", "info", "--json").stdout)["parked"]
        ends = self.site.compare(rows)
        complaints = []
        for name in ("only_journal", "only_aggregator", "doubled"):
            if ends[name]:
                complaints.append(f"{name} {ends[name]}")
        if here.returncode != 0:
            complaints.append("the journal: " + here.stdout + here.stderr)
        if parked:
            complaints.append(f"parked {parked}")
        if ends["same"] < 5:
            complaints.append(f"only {ends['same']} records: nothing was tried")
        return ends["same"], complaints


class Faults(FaultyNode):
    """One seed against the project's own aggregator."""

    def run(self, lie=False):
        site, dice = self.site, self.dice
        try:
            site.start_aggregator(simulated=True)
            self.start(site.port)
            self.proxy.lie = lie
            for _ in range(dice.randint(2, 5)):
                time.sleep(dice.uniform(0.02, 0.5))
                who = dice.choice(["agent", "aggregator", "both"])
                self.killed[who] += 1
                if who != "aggregator":
                    site.agent.kill()
                if who != "agent":
                    site.aggregator.kill()
                    time.sleep(dice.choice([0, 0, 0.2]))
                    site.start_aggregator(simulated=True)
                if who != "aggregator":
                    site.start_agent()
            time.sleep(dice.uniform(0.1, 0.6))
            self.finish()
            site.aggregator.stop()
            same, complaints = self.judge()
            there = site.aggregator_tool("verify", "--state", site.store, check=False)
            if there.returncode != 0:
                complaints.append("the aggregator: " + there.stdout + there.stderr)
            return same, complaints
        finally:
            self.stop()


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 24
    first = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time()) % 1_000_000_000
    minutes = float(sys.argv[5]) if len(sys.argv) > 5 else 60
    end = time.monotonic() + minutes * 60
    say(f"seeds from {first}")
    done, records, bad = 0, 0, []
    killed, faults = Counter(), Counter()
    for seed in range(first, first + seeds):
        if time.monotonic() > end:
            break
        run = Faults(binaries, folder / str(seed), seed)
        same, complaints = run.run()
        done += 1
        records += same
        killed += run.killed
        faults += run.proxy.counts
        if complaints:
            bad.append(seed)
            say(f"seed {seed}: " + "; ".join(complaints))
        else:
            shutil.rmtree(folder / str(seed))
    _, noticed = Faults(binaries, folder / "canary", first).run(lie=True)
    shutil.rmtree(folder / "canary")
    if not any(complaint.startswith("only_journal") for complaint in noticed):
        say("the judge does not notice records that never arrived")
        return 1
    say(f"{done} seeds, {len(bad)} with complaints {bad or ''}: {records} records the same at both ends; "
        f"kills {dict(killed)}; connections {dict(faults)}")
    return 1 if bad or done == 0 else 0


if __name__ == "__main__":
    main_guard(main)
