"""Goal: a node without a connection delivers by files, and only what came back from the aggregator is released.

Method: a node with simulated guests writes to a directory; the real import takes the files; its reports go back, to the
running agent through the directory and to a stopped one by `journal acknowledge`. A report of another aggregator first.

    carried_main.py BINARIES FOLDER
"""

import json
import random
import shutil
import sys
from pathlib import Path

from faults_main import scenario
from testsite import Site, SiteError, main_guard, run, say, wait_until


class CarriedSite(Site):
    medium = None
    key = ""

    def write_config(self, port=None):
        super().write_config(port)
        lines = self.config.read_text().splitlines()
        lines = [line for line in lines if not line.startswith("url = ")]
        lines.insert(lines.index("[upload]") + 1, f'url = ["file://{self.medium}"]\nreceipt_key = "{self.key}"')
        self.config.write_text("\n".join(lines) + "\n")

    def import_into(self, store):
        """Every file of the medium; the reports by name, and the receiver's key."""
        reports = {}
        for file in sorted(self.medium.glob("*.nmx")):
            done = run(self.binaries / "nodemeter-aggregator", "import", file, "--state", store, "--allow-simulated")
            reports[file.stem] = json.loads(done.stdout)
        if not reports:
            raise SiteError("nothing was written to the medium")
        return reports, next(iter(reports.values()))["receiver"]

    def info(self):
        return json.loads(self.nodemeter("journal", "info", "--json").stdout)


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "scenario.json").write_text(json.dumps(scenario(random.Random(7))))
    site = CarriedSite(folder, binaries, interval="10m", upload_interval="30m", live="nodemeter-carried", plain=True)
    site.source = {"kind": "simulated", "scenario": str(folder / "scenario.json"), "speed": 12_000}
    site.medium = folder / "medium"
    site.medium.mkdir()
    ack = site.medium / "ack"
    ack.mkdir()
    try:
        site.write_config()
        site.start_agent("--final")
        site.wait_for_agent()
        wait_until(lambda: any(site.medium.glob("*.nmx")), "the agent wrote no file", site.agent)
        _, stranger = site.import_into(folder / "stranger")
        strange, _ = site.import_into(folder / "stranger")
        reports, site.key = site.import_into(site.store)
        if stranger == site.key:
            raise SiteError("two aggregators have one key")
        if site.agent.stop() != 0:
            raise SiteError(f"the agent failed\n{site.agent.tail()}")
        site.write_config()
        for name, report in strange.items():
            (folder / f"{name}.json").write_text(json.dumps(report))
            refused = site.nodemeter("journal", "acknowledge", folder / f"{name}.json", check=False)
            if refused.returncode == 0 or "not signed" not in refused.stderr:
                raise SiteError(f"a stranger's receipt was taken: {refused.stdout}{refused.stderr}")
        if site.info()["acknowledgedSequence"] != 0:
            raise SiteError("something was released without a receipt")
        # By the verb, then through the directory.
        reports, _ = site.import_into(site.store)
        first = min(reports)
        (folder / "first.json").write_text(json.dumps(reports[first]))
        site.nodemeter("journal", "acknowledge", folder / "first.json")
        info = site.info()
        if info["acknowledgedSequence"] != reports[first]["runs"][0]["acknowledged"]:
            raise SiteError(f"journal acknowledge released {info['acknowledgedSequence']}")
        for name, report in reports.items():
            (ack / f"{name}.json").write_text(json.dumps(report))
        carried = max(report["runs"][0]["acknowledged"] for report in reports.values())
        site.start_agent("--final")
        wait_until(lambda: (site.status() or {"acknowledgedSequence": 0})["acknowledgedSequence"] >= carried,
                   "the agent took no receipt", site.agent)
        if site.agent.stop() != 0:
            raise SiteError(f"the agent failed\n{site.agent.tail()}")
        site.import_into(site.store)
        ends = site.compare()
        say(f"{ends['same']} records the same at both ends, {len(ends['only_journal'])} lost, "
            f"{len(ends['only_aggregator'])} invented, {ends['doubled']} doubled")
        return 1 if ends["only_journal"] or ends["only_aggregator"] or ends["doubled"] or ends["same"] < 10 else 0
    finally:
        site.stop()


if __name__ == "__main__":
    main_guard(main)
