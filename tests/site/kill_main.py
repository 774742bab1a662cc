"""Goal: no crash of either program loses or doubles a record.

Method: real guests are metered and delivered over TLS while agent and aggregator are killed with SIGKILL at random
moments and started again. Afterwards every record of the journal must be at the aggregator exactly once, byte for byte by
its digest, and both chains must verify. The seed is printed; the moments follow from it.

    kill_main.py BINARIES FOLDER [KILLS] [SEED]
"""

import random
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from testsite import GUESTS, Site, SiteError, main_guard, run, say


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
    say(f"seed {seed}")
    dice = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    guests = folder / "guests"
    site = None
    try:
        up = run(GUESTS, "up", guests, "--count", "2").stdout
        uri = shlex.split(dict(line.split("=", 1) for line in up.splitlines() if "=" in line)["URI_RO"])[0]
        site = Site(folder / "site", binaries, interval="200ms", upload_interval="1s")
        site.source = {"kind": "libvirt", "uri": uri}
        site.start_aggregator()
        site.write_config()
        site.start_agent()
        site.wait_for_agent()
        killed = {"agent": 0, "aggregator": 0}
        for _ in range(kills):
            time.sleep(dice.uniform(0.02, 1.5))
            # Events, so that there is something new to lose at every moment.
            verb = dice.choice(["suspend", "resume", None])
            if verb:
                run(GUESTS, verb, guests, "vm1", check=False)
            if dice.random() < 0.6:
                site.agent.kill()
                killed["agent"] += 1
                site.start_agent()
            else:
                site.aggregator.kill()
                killed["aggregator"] += 1
                site.start_aggregator()
        run(GUESTS, "resume", guests, "vm1", check=False)
        site.wait_for_agent()
        if site.agent.stop() != 0:
            raise SiteError(f"the agent failed\n{site.agent.tail()}")
        site.start_agent("--final")
        site.wait_for_agent()
        if site.agent.stop() != 0:
            raise SiteError(f"the last agent failed\n{site.agent.tail()}")
        site.aggregator.stop()
        here = site.nodemeter("journal", "verify", check=False)
        there = site.aggregator_tool("verify", "--state", site.store, check=False)
        ends = site.compare()
        say(f"killed: agent {killed['agent']}, aggregator {killed['aggregator']}")
        say((here.stdout + here.stderr).strip())
        say((there.stdout + there.stderr).strip())
        say(f"{ends['same']} records the same at both ends, {len(ends['only_journal'])} lost, "
            f"{len(ends['only_aggregator'])} invented, {ends['doubled']} doubled")
        wrong = ends["only_journal"] or ends["only_aggregator"] or ends["doubled"] or here.returncode or there.returncode
        enough = ends["same"] > kills / 2
        return 1 if wrong or not enough else 0
    finally:
        if site:
            site.stop()
        subprocess.run([str(GUESTS), "down", str(guests)], check=False)


if __name__ == "__main__":
    main_guard(main)
