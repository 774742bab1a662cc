"""An operator's desk: a node with simulated guests, and a list of claims that hold or do not.

Used by the tests of what an operator sees: status, doctor, top, report.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "site"))

from testsite import Site, make_certificates, run, say, wait_until  # noqa: E402  (the path above)

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = 'db "prod"\\ <script>alert(1)</script>'


def guest(n, name, subscription=1, cpu=20, vcores=2):
    return {"id": f"6f1c0000-0000-4000-8000-{n:012d}", "name": name, "vcores": vcores, "memory_mib": 1024 * (1 + n % 16),
            "subscription": f"5555000{subscription}-0000-4000-8000-000000000000",
            "tenant": "aaaaaaaa-0000-4000-8000-000000000001", "resource_group": "rg", "cpu_percent": cpu,
            "windows_licence": n % 3 == 0,
            "disks": [{"id": "sda", "capacity_mib": 20480 + n, "read_bytes_per_s": 100_000 * n, "write_bytes_per_s": 2_003 * n,
                       "read_operations_per_s": 7, "write_operations_per_s": 23}],
            "nics": [{"id": "eth0", "receive_bytes_per_s": 5_001 * n, "transmit_bytes_per_s": 70_003, "receive_packets_per_s": 5,
                      "transmit_packets_per_s": 11}]}


def scenario(vms, events=(), start="2026-01-01T00:00:00Z", end="2027-01-01T00:00:00Z", interval=600):
    return {"start": start, "end": end, "sample_interval_s": interval, "events": list(events), "vms": vms}


class Claims:
    """What has to hold, one line each; `failures` counts what does not."""

    failures = 0

    def claim(self, what, holds, seen=""):
        say(f"{'ok   ' if holds else 'FAIL '} {what}")
        if not holds:
            say("      " + str(seen)[:3000].replace("\n", "\n      "))
            self.failures += 1


class Desk(Claims):
    """A plain site below `folder` whose guests are simulated; `live` names its shared memory."""

    def __init__(self, binaries, folder, live, vms, speed=1, interval="1s"):
        self.folder = Path(folder).resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "scenario.json").write_text(json.dumps(scenario(vms)))
        self.site = Site(self.folder, Path(binaries).resolve(), interval=interval, live=live, plain=True)
        self.site.source = {"kind": "simulated", "scenario": str(self.folder / "scenario.json"), "speed": speed}

    def start(self):
        self.site.start_agent()
        self.site.wait_for_agent()

    def end(self):
        """What a test program returns to ctest."""
        self.site.stop()
        return 1 if self.failures else 0


__all__ = ["Claims", "Desk", "HOSTILE", "ROOT", "guest", "make_certificates", "run", "say", "scenario", "wait_until"]
