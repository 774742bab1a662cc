"""Goal: whatever the network does and whenever agents and a real ClickHouse are killed, the table ends with exactly the
journals' records.

Method: as tests/site/faults_main.py, with the engine in the place of the aggregator. Because it takes a while to start,
some nodes, each with its own seed and proxy, suffer together: it is killed with SIGKILL under all of them. Then the
network heals, the agents finish, and for each node the table has every record of its journal once (FINAL) with its
digest, nothing else, and no finding. Last, a row is removed and another forged: the judge must notice both.

    clickhouse_faults_main.py BINARIES FOLDER [SEEDS] [FIRST] [MINUTES]

Ends with 77 (skipped) only if the engine is neither in the cache nor to be had from the registry.
"""

import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "site"))

from faults_main import FaultyNode  # noqa: E402  (the path above)
from testsite import SiteError, say  # noqa: E402

from engine import KEY, EngineError, EngineMissing, Server, library  # noqa: E402
from fleet import copy_of, deliver, fresh, set_up, users, without_trial_mark  # noqa: E402
from node import insert_url  # noqa: E402

TOGETHER = 4  # Nodes under one engine at a time.
SEEDS_PER_ENGINE = 48
ENGINE_DEATHS_MAX = 5  # It may crash, which is its own affair, but not for ever.


class Group:
    """Some seeds at once."""

    def __init__(self, server, binaries, folder, seeds):
        self.server = server
        self.dice = random.Random(f"group of {seeds}")
        self.nodes = [FaultyNode(binaries, folder / str(seed), seed, node=f"f{place}") for place, seed in enumerate(seeds)]
        self.kills = self.deaths = 0

    def config(self, node, port):
        key = node.site.folder / "key"
        key.write_text(KEY)
        return {"url": insert_url(SimpleNamespace(http_port=port)),
                "upload": f'clickhouse_user = "node_{node.site.node}"\nclickhouse_key_file = "{key}"\n'}

    def run(self):
        dice = self.dice
        try:
            for node in self.nodes:
                node.start(self.server.http_port, lambda port, node=node: self.config(node, port))
            for _ in range(dice.randint(2, 4)):
                time.sleep(dice.uniform(0.1, 0.6))
                victims = [node for node in self.nodes if dice.random() < 0.5]
                for node in victims:
                    node.site.agent.kill()
                    node.killed["agent"] += 1
                if not victims or dice.random() < 0.6:
                    self.kills += 1
                    self.server.kill()
                self.revive()
                for node in victims:
                    node.site.start_agent()
            time.sleep(dice.uniform(0.1, 0.6))
            for node in self.nodes:
                self.finish(node)
        finally:
            for node in self.nodes:
                node.stop()

    def revive(self):
        """The engine is up again, also if it ended by itself: then that was one fault more."""
        if self.server.child.poll() is not None:
            self.server.close_stopper()
            self.server.start()

    def finish(self, node):
        for _ in range(ENGINE_DEATHS_MAX):
            try:
                node.finish()
                return
            except SiteError:
                if self.server.child.poll() is None:
                    raise
                self.deaths += 1
                self.revive()
        raise EngineError("the engine ends again and again")

    def judge(self, node):
        """Of the node's own store: in the same table are those of the seeds before."""
        where = f"node_id = '{node.site.node}' AND epoch = '{epoch_of(node)}'"
        rows = self.server.rows(f"SELECT toString(epoch), seq, lower(hex(digest)) FROM metering.journal FINAL WHERE {where}")
        same, complaints = node.judge(rows)
        findings = self.server.rows(f"SELECT * FROM metering.findings WHERE {where}")
        if findings:
            complaints.append(f"findings {findings}")
        return same, complaints

    def judge_is_awake(self):
        """A row is removed, another forged: what is said about both?"""
        node = self.nodes[0]
        where = f"node_id = 'f0' AND epoch = '{epoch_of(node)}'"
        self.server.run(f"ALTER TABLE metering.journal DELETE WHERE {where} AND seq = 3", mutations_sync=2)
        body = copy_of(self.server, f"{where} AND seq = 2")
        deliver(self.server, "node_f0", body[:-32] + bytes(32), "forged")
        noticed = " ".join(self.judge(node)[1])
        return all(word in noticed for word in ("only_journal", "only_aggregator", "'hole'", "'fork'"))


def epoch_of(node):
    return json.loads(node.site.nodemeter("journal", "info", "--json").stdout)["epoch"]


class Totals:
    def __init__(self):
        self.seeds = self.records = self.copies = 0
        self.bad = []
        self.kills, self.faults = Counter(), Counter()

    def take(self, group, seeds):
        for node, seed in zip(group.nodes, seeds, strict=True):
            same, complaints = group.judge(node)
            self.seeds += 1
            self.records += same
            self.kills += node.killed
            self.faults += node.proxy.counts
            if complaints:
                self.bad.append(seed)
                say(f"seed {seed}: " + "; ".join(complaints))
        self.kills["engine"] += group.kills
        self.kills["engine by itself"] += group.deaths

    def text(self):
        return (f"{self.seeds} seeds, {len(self.bad)} with complaints {self.bad or ''}: {self.records} records the same at both "
                f"ends, in {self.copies} rows before repeats are removed; kills {dict(self.kills)}; connections {dict(self.faults)}")


def run_some(binaries, folder, seeds, totals, end):
    """With an engine of their own, so that its table stays small. The last group's judge is tried."""
    server = Server(folder / "server", users([f"f{place}" for place in range(TOGETHER)]))
    try:
        server.start()
        set_up(server, "one-server.sql", without_trial_mark("one-server.sql"))
        for at in range(seeds.start, seeds.stop, TOGETHER):
            mine = range(at, min(at + TOGETHER, seeds.stop))
            group = Group(server, binaries, folder, mine)
            group.run()
            totals.take(group, mine)
            if time.monotonic() > end:
                break
        totals.copies += server.value("SELECT count() FROM metering.journal")
        return bool(totals.bad) or group.judge_is_awake()
    finally:
        server.stop()


def run(binaries, folder, first, count, minutes):
    end = time.monotonic() + minutes * 60
    totals = Totals()
    awake = True
    for at in range(first, first + count, SEEDS_PER_ENGINE):
        seeds = range(at, min(at + SEEDS_PER_ENGINE, first + count))
        awake = run_some(binaries, folder, seeds, totals, end) and awake
        if totals.bad or time.monotonic() > end:
            break  # What is found is looked into with everything that is there.
        for done in [folder / str(seed) for seed in seeds] + [folder / "server"]:
            shutil.rmtree(done)
    say(totals.text())
    if not awake:
        say("the judge does not notice a row that is missing, or one that was forged")
    return 0 if awake and not totals.bad else 1


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    first = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time()) % 1_000_000_000
    minutes = float(sys.argv[5]) if len(sys.argv) > 5 else 60
    try:
        library()
    except EngineMissing as error:
        say(f"SKIPPED: ClickHouse is not tested here: {error}")
        return 77
    fresh(folder)
    say(f"seeds from {first}")
    try:
        return run(binaries, folder, first, seeds, minutes)
    except (EngineError, SiteError) as error:
        print(f"FAILED: {error}\nstate for inspection: {folder}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
