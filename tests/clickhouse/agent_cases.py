"""What the agent does with answers of the real server, and with kills in the middle of deliveries."""

import shutil

from delivery_cases import compare_rows
from engine import EngineError, KEY
from cutting_proxy import CuttingProxy
from fleet import check
from node import WAIT_S, Node, insert_url, stored_rows


def wait_held(node, what, code):
    node.wait(lambda status: status.get("uploadState") == "held" and f"ClickHouse code {code}:" in status["uploadReason"],
              f"{what} was not held")


def held_until_mended(server, folder, binaries, name):
    """Rights, a schema that refuses trials, a table that is not there: kept, said in the status, delivered when mended."""
    node = Node(folder / f"{name}-held", binaries, name, [insert_url(server)])

    def held(what, code, said=""):
        wait_held(node, what, code)
        check(f"{what}: the log says what to do", said in node.agent.tail(), True)
        status = node.status()
        check(f"{what}: nothing is lost or parked", (status["acknowledgedSequence"], status["parked"]), (0, 0))

    try:
        (node.folder / "key").write_text("wrong")
        node.start()
        held("a wrong password", 516, "does not let us write")
        (node.folder / "key").write_text(KEY)
        held("rows of a trial", 469, "not_simulated")
        server.run("RENAME TABLE metering.journal TO metering.elsewhere")
        held("no such table", 60, "do not fit")
        server.run("ALTER TABLE metering.elsewhere DROP CONSTRAINT not_simulated")
        server.run("RENAME TABLE metering.elsewhere TO metering.journal")
        node.wait(lambda status: status.get("acknowledgedSequence", 0) > 0, "not delivered once mended")
        node.finish()
        compare_rows(server, node)
    finally:
        node.stop()


def another_nodes_user(server, folder, binaries, name, other):
    node = Node(folder / f"{name}-user", binaries, name, [insert_url(server)])
    node.write_config([insert_url(server)], user=f"node_{other}")
    try:
        node.start()
        wait_held(node, "another node's user", 469)
        check("the log says what to do", "writes_as_itself" in node.agent.tail(), True)
        check("nothing of it is stored", server.value(f"SELECT count() FROM metering.journal WHERE epoch = '{node.info()['epoch']}'"), 0)
        check("nothing is parked", node.info()["parked"], [])
    finally:
        node.stop()


def refused_rows_are_parked(server, folder, binaries, name):
    """Rows that the table refuses are found by halving and set aside; everything else arrives."""
    bad = (9, 14)
    server.run(f"ALTER TABLE metering.journal ADD CONSTRAINT poison CHECK seq NOT IN {bad}")
    node = Node(folder / f"{name}-parked", binaries, name, [insert_url(server)])
    try:
        node.start()
        node.wait(lambda status: status.get("parked") == len(bad) and status["acknowledgedSequence"] > 20, "they were not parked")
        node.stop()
        info = node.info()
        check("parked", [one["sequence"] for one in info["parked"]], list(bad))
        check("with the reason", all("poison" in one["reason"] for one in info["parked"]), True)
        epoch = info["epoch"]
        stored = {row[3] for row in stored_rows(server, name) if row[2] == epoch}
        check("the others are there", set(range(1, info["acknowledgedSequence"] + 1)) - stored, set(bad))
        check("the holes are found", server.rows(f"SELECT first_seq FROM metering.holes WHERE epoch = '{epoch}' ORDER BY 1"),
              [(seq,) for seq in bad])
        server.run("ALTER TABLE metering.journal DROP CONSTRAINT poison")
        node.ask("journal", "unpark")
        node.start()
        node.wait(lambda status: status.get("parked") == 0, "they were not sent again")
        node.finish()
        check("and no holes", server.rows(f"SELECT * FROM metering.findings WHERE epoch = '{epoch}'"), [])
    finally:
        node.stop()


def a_copied_store_forks(server, folder, binaries, name):
    """A state directory is copied and used twice, as after a disk image was restored: the table keeps both chains."""
    node = Node(folder / f"{name}-original", binaries, name, [insert_url(server)])
    copy = Node(folder / f"{name}-copy", binaries, name, [insert_url(server)])
    try:
        node.start()
        node.wait(lambda status: status.get("acknowledgedSequence", 0) >= 20, "nothing is delivered")
        node.stop()
        shutil.copytree(node.state, copy.state)
        at = node.info()["lastSequence"]
        for one in (node, copy):
            one.start()
            one.wait(lambda status: status.get("acknowledgedSequence", 0) >= at + 10, "nothing more is delivered")
            one.stop()
        epoch = node.info()["epoch"]
        chains = [{entry["sequence"]: entry["digest"] for entry in one.journal()} for one in (node, copy)]
        forked = sorted(seq for seq, digest in chains[0].items() if chains[1].get(seq, digest) != digest)
        check("the chains differ after the copy only", (forked[0] > at, len(forked) >= 10), (True, True))
        found = server.rows(f"SELECT seq, forms FROM metering.forks WHERE epoch = '{epoch}' ORDER BY seq")
        check("every forked number shows", found, [(seq, 2) for seq in forked])
    finally:
        node.stop()
        copy.stop()


KILLS = (("stored", "agent"), ("half", "agent"), ("before", "agent"), ("stored", "near"), ("half", "near"), ("stored", "far"),
         ("half", "far"), ("before", "far"), ("stored", "agent"), ("stored", "near"), ("half", "agent"), ("stored", "both"))


def kills_in_the_middle(cluster, folder, binaries, name):
    """SIGKILL to the agent, to the server that takes the batch and to the one that stores it, at chosen moments."""
    near, far = cluster.servers[1], cluster.servers[0]
    if far.value(f"SELECT cityHash64('{name}') % 2") != 0:
        near, far = far, near
    proxy = CuttingProxy(near.http_port)
    node = Node(folder / f"{name}-kills", binaries, name, [insert_url(proxy)])
    try:
        node.start()
        for moment, victim in KILLS:
            victims = {"agent": [node.agent], "near": [near], "far": [far], "both": [node.agent, near]}[victim]
            proxy.plan(moment, lambda victims=victims: [one.kill() for one in victims])
            if not proxy.done.wait(WAIT_S):
                raise EngineError(f"no delivery to kill the {victim} in\n{node.agent.tail()}")
            for server in (near, far):
                if server in victims:
                    server.start()
            if node.agent in victims:
                node.start()
        before = node.info()["acknowledgedSequence"]
        node.wait(lambda status: status.get("acknowledgedSequence", 0) > before, "nothing is delivered after the kills")
        node.finish()
        compare_rows(near, node)
        rows = node.info()["lastSequence"]
        check("tokens kept repeats out", near.value(f"SELECT count() FROM metering.journal WHERE node_id = '{name}'"), rows)
        check("no findings", near.rows(f"SELECT * FROM metering.findings WHERE node_id = '{name}'"), [])
    finally:
        node.stop()
        proxy.stop()
