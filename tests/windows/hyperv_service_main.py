"""Goal: the service meters the machines of a Hyper-V host, to the count, through COM and PDH.

Method: the unmodified program under Wine's service manager, with a stand-in for WMI and pdh.dll that is a host with three
machines (tests/windows/fake_hyperv_main.cpp). Every counter of a machine is a multiple of its steps of 10 ms, and one pass
reads all at one instant: so all meters of a machine must be the same multiples of one number, over a service that is
killed, started again, upgraded while it meters (also to programs that do not run, which are taken back), stopped, and a
last run in the foreground that closes the hour. Then the aggregator must have every record, once.

    hyperv_service_main.py WINDOWS_BUILD LINUX_BUILD
"""

import contextlib
import json
import shutil
import signal
import subprocess
import time

from windows_node import check_running, compare, expect, start, windows_site  # First: it says where testsite is.

from testsite import SiteError, main_guard, say, wait_until

LOCATOR = "HKLM\\Software\\Classes\\CLSID\\{4590F811-1D3A-11D0-891F-00AA004B2E24}\\InprocServer32"
SYSTEMS_OWN = "C:\\windows\\system32\\wbem\\wbemprox.dll"
SETTINGS = """[source]
kind = "hyperv"
[owners]
trust_metadata = true
[sampling]
interval = "1s"
"""

STEP_MS = 10
# Of each step, by meter. Of its processors: half of what they have, 5 ms each.
DISK = {"disk-read-bytes": 4096, "disk-write-bytes": 8192, "disk-read-operations": 1, "disk-write-operations": 2}
NETWORK = {"network-receive-bytes": 1500, "network-transmit-bytes": 3000, "network-receive-packets": 3,
           "network-transmit-packets": 4}
MACHINES = {"web": (1, 2, DISK | NETWORK, "aaaaaaaa-0000-4000-8000-000000000000"),
            "late": (2, 1, DISK, "00000000-0000-0000-0000-000000000000"),
            "db": (3, 4, DISK, "bbbbbbbb-0000-4000-8000-000000000000")}
LATE_CREATED_S, DB_OFF_S = 8, 15  # Of the host's time.
SAMPLE_S = 4  # What a sample may be late on a machine that is busy.


def register_locator(wine, library):
    done = wine.run("reg", "add", LOCATOR, "/ve", "/d", library, "/f")
    if done.returncode != 0:
        raise SiteError(f"the stand-in for WMI cannot be registered: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def stand_in(node):
    """A Hyper-V host is found beside the program, and by whoever asks for WMI."""
    shutil.copy(node.build / "tests" / "fake-hyperv" / "pdh.dll", node.program.parent)
    register_locator(node.wine, "C:\\Program Files\\nodemeter\\pdh.dll")
    try:
        yield
    finally:
        register_locator(node.wine, SYSTEMS_OWN)


def close_hour(node):
    """Runs the agent in the foreground as one that leaves the site, and ends it with Ctrl-C."""
    with open(node.folder / "final.log", "wb") as log:
        last = subprocess.Popen([node.wine.program, str(node.program), "agent", "--final"], env=node.wine.environment,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: node.do("status", expect=None).returncode == 0, "the agent in the foreground does not meter")
        time.sleep(3)
        last.send_signal(signal.SIGINT)
        code = last.wait(60)
    finally:
        if last.poll() is None:
            last.kill()
    expect(code == 0, f"the agent in the foreground ended with {code}: {(node.folder / 'final.log').read_text()}")


def upgrade(node, site):
    """Gives how long each upgrade took, in ms."""
    program = node.program.read_bytes()
    process = node.service_state()["process"]
    same = node.do("service", "upgrade", node.wine.path(node.program))
    expect("nothing to do" in same.stdout and node.service_state()["process"] == process,
           f"restarted for nothing: {same.stdout}")
    away = []
    junk = node.program.parent / "junk.exe"
    junk.write_bytes(b"MZ no program")
    newer = node.program.parent / "newer.exe"
    newer.write_bytes(program + b"newer")  # What follows a program's last part is not looked at.
    foreign = node.wine.drive / "windows" / "system32" / "hostname.exe"  # Runs, and is no service.
    hung = node.build / "tests" / "hung_service.exe"
    for candidate, works in ((junk, False), (foreign, False), (hung, False), (newer, True)):
        before = node.service_state()["process"]
        begun = time.time()
        # As install.ps1 does it: by the new program, if that can.
        done = node.wine.run(newer if works else node.program, "service", "upgrade", node.wine.path(candidate))
        expect(done.returncode == (0 if works else 1), f"{candidate.name}: {done.stdout}{done.stderr}")
        away.append((time.time() - begun) * 1000)
        expect(works or "the old one is back in its place and runs" in done.stderr, f"{candidate.name}: {done.stderr}")
        expected = newer.read_bytes() if works else program
        expect(node.program.read_bytes() == expected, f"{candidate.name}: not the program that should be there")
        expect(node.service_state()["process"] != before, f"{candidate.name}: the old process runs on")
        check_running(node, site)
    left = sorted(file.name for file in node.program.parent.glob("nodemeter.exe*"))
    expect(left == ["nodemeter.exe"], f"the upgrade has left {left}")
    return away


def check_gaps(entries, away):
    """Each end of the agent is one declared gap, and that of an upgrade no longer than the restart with a sample around."""
    expect(len({entry["epoch"] for entry in entries}) == 1, "the journal was not carried over")
    gaps = [json.loads(entry["detail"]) for entry in entries if entry["kind"] == "gap"]
    expect({gap["cause"] for gap in gaps} == {"agent down"}, f"the gaps are {gaps}")
    killed, *upgraded, _ = (gap["ms"] for gap in gaps)
    expect(killed > 0 and len(upgraded) == len(away), f"{len(gaps)} gaps; upgrades: {len(away)}")
    for gap_ms, away_ms in zip(upgraded, away):
        expect(0 < gap_ms <= away_ms + 2 * SAMPLE_S * 1000, f"a gap of {gap_ms} ms for a restart of {away_ms:.0f} ms")
    return upgraded


def exercise(node, site):
    """The service's life; gives how long the host was watched, in ms: at least, at most."""
    node.do("service", "install")
    first = start(node)
    check_running(node, site)
    watched = time.time()
    began = int((node.program.parent / "began").read_text()) / 1000
    wait_until(lambda: time.time() > began + LATE_CREATED_S + 2, "time stands still")
    node.wine.run("taskkill", "/F", "/PID", str(first))
    wait_until(lambda: node.do("status", expect=None).returncode == 3, "an ended agent is shown as alive")
    start(node)
    check_running(node, site)
    wait_until(lambda: time.time() > began + DB_OFF_S + 3, "time stands still", timeout=60)
    away = upgrade(node, site)
    node.do("service", "stop")
    closing = time.time()
    close_hour(node)
    ended = time.time()
    node.do("journal", "verify")
    node.do("service", "uninstall")
    return (closing - watched) * 1000, (ended - began) * 1000, away


def totals_of(entries, vm):
    totals, owners = {}, set()
    for entry in entries:
        if entry["kind"] != "usage" or entry["vm"] != vm:
            continue
        owners.add(entry["subscription"])
        for meter in entry["meters"]:
            totals[meter["name"]] = totals.get(meter["name"], 0) + int(meter["quantity"])
    return totals, owners


def check_machine(entries, name, present_ms, worked_ms):
    """Both are pairs: at least, at most."""
    number, vcores, multiples, owner = MACHINES[name]
    totals, owners = totals_of(entries, f"ab000000-0000-0000-0000-{number:012}")
    steps = totals.get("disk-read-operations", 0)
    expected = {meter: steps * multiple for meter, multiple in multiples.items()}
    expected |= {"cpu-time": steps * vcores * 5_000, "base-vm-hours": vcores * totals.get("vm-hours", 0)}
    for meter, quantity in expected.items():
        expect(totals.get(meter) == quantity, f"{name}: {meter} is {totals.get(meter)}, not {quantity}")
    for meter in (DISK | NETWORK).keys() - multiples.keys():
        expect(totals.get(meter, 0) == 0, f"{name} has no such device, and {totals.get(meter)} of {meter}")
    expect(owners == {owner}, f"{name} belongs to {owner} and is billed to {owners}")
    for what, ms, (least, most) in (("present", totals["vm-hours"], present_ms), ("worked", steps * STEP_MS, worked_ms)):
        expect(least <= ms <= most, f"{name}: {what} for {ms} ms, which should be {least:.0f} to {most:.0f}")
    return steps


def main():
    with windows_site("hyperv-test", SETTINGS) as (node, site), stand_in(node):
        least, most, away = exercise(node, site)
        entries = node.journal()
        gaps = check_gaps(entries, away)
        watched = (least - SAMPLE_S * 1000, most)
        of_late = (watched[0] - LATE_CREATED_S * 1000, most)
        steps = [check_machine(entries, "web", watched, watched), check_machine(entries, "late", of_late, of_late),
                 check_machine(entries, "db", watched, (1_000, DB_OFF_S * 1000))]
        rows = compare(node, site)
        expect(rows == len(entries), f"{len(entries)} records, {rows} at the aggregator")
    say(f"Hyper-V stand-in under Wine: {', '.join(f'{n} {s} steps' for n, s in zip(MACHINES, steps))}, every meter its exact "
        f"multiple; four upgrades, three taken back: gaps of {', '.join(map(str, gaps))} ms; {rows} records at the "
        f"aggregator, each once")
    return 0


if __name__ == "__main__":
    main_guard(main)
