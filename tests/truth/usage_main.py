#!/usr/bin/env python3
"""Goal: what `nodemeter usage` shows is what was truly consumed, for every VM, hour and meter.

Method: scenarios are made by seed, each is played by `nodemeter simulate`, and its journal is asked with
`nodemeter usage`, by hour and by day, whole and in pages; true_consumption.py computes the truth from the scenario file
alone. Both have to agree to the last base unit.

    usage_main.py NODEMETER DIRECTORY [SCENARIOS [SEED]]

A VM is paused for two samples before it stops or leaves: what a run used after its last reading is lost by the rules
(and marked), and here nothing is to be lost.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import true_consumption

START = "2026-01-01T22:00:00Z"
INTERVAL_S = 10


def at(seconds):
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes + 22 * 60, 60)
    return f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:{minute:02d}:{second:02d}Z"


def make_vm(rng, number):
    rate = lambda most: rng.choice([0, 1, 7, rng.randrange(most)])
    return {
        "id": f"6f1c0000-0000-4000-8000-{number:012d}", "name": f"vm-{number}", "vcores": rng.randint(1, 64),
        "memory_mib": rng.choice([512, 8192, 1_000_003]), "windows_licence": rng.random() < 0.4,
        "subscription": f"aaaaaaaa-0000-4000-8000-{number % 3:012d}", "tenant": f"bbbbbbbb-0000-4000-8000-{number % 2:012d}",
        "resource_group": "rg", "cpu_percent": rng.randint(0, 100),
        "disks": [{"id": f"sd{chr(97 + i)}", "capacity_mib": rng.randrange(1, 10**7), "read_bytes_per_s": rate(10**9),
                   "write_bytes_per_s": rate(10**9), "read_operations_per_s": rate(10**5),
                   "write_operations_per_s": rate(10**5)} for i in range(rng.randint(0, 3))],
        "nics": [{"id": f"eth{i}", "receive_bytes_per_s": rate(10**9), "transmit_bytes_per_s": rate(10**9),
                  "receive_packets_per_s": rate(10**6), "transmit_packets_per_s": rate(10**6)}
                 for i in range(rng.randint(0, 2))]}


def make_scenario(rng, hours):
    vms = [make_vm(rng, number) for number in range(rng.randint(1, 6))]
    events = []
    for vm in vms:
        if rng.random() < 0.3:
            events.append({"at": at(rng.randrange(0, hours * 3600, 60) + 30), "do": "arrive",
                           "how": rng.choice(["created", "migrated"]), "vm": vm["id"]})
        for second in rng.sample(range(60, hours * 3600 - 60, 60), rng.randint(0, 6)):
            what = rng.choice(["stop", "start", "reboot", "resize", "pause", "resume", "leave"])
            if what in ("stop", "leave"):
                events.append({"at": at(second), "do": "pause", "vm": vm["id"]})
                second += 2 * INTERVAL_S
            event = {"at": at(second), "do": what, "vm": vm["id"]}
            if what == "leave":
                event["how"] = rng.choice(["deleted", "deallocated", "migrated"])
            if what == "resize":
                event["vcores"] = rng.randint(1, 64)
            events.append(event)
    events.sort(key=lambda event: event["at"])
    return {"start": START, "end": at(hours * 3600), "sample_interval_s": INTERVAL_S, "vms": vms, "events": events}


def run(command, codes):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def usage_pages(program, state, arguments, page_size):
    """The rows of all pages, as {(start, vm, meter): base units}."""
    rows, token = {}, None
    while True:
        command = [program, "usage", "--state", state, "--format", "json", *arguments]
        if page_size:
            command += ["--page-size", str(page_size)]
        if token:
            command += ["--continuation", token]
        page = json.loads(run(command, (0, 3)))
        for item in page["value"]:
            p = item["properties"]
            key = (p["usageStartTime"].replace("+00:00", "Z"), p["vm"], p["meterName"])
            if key in rows:
                sys.exit(f"{key} is on two pages")
            rows[key] = int(p["quantityBase"])
        token = page["continuationToken"]
        if not token:
            return rows


def flat(truth, daily):
    rows = {}
    for hour, machines in truth.items():
        for vm, meters in machines.items():
            for meter, quantity in meters.items():
                key = ((hour[:10] + "T00:00:00Z") if daily else hour, vm, meter)
                rows[key] = rows.get(key, 0) + quantity
    return rows


def differences(wanted, got):
    for key in sorted(set(wanted) | set(got)):
        if wanted.get(key, 0) != got.get(key, 0):
            yield f"{key}: truly {wanted.get(key, 0)}, usage shows {got.get(key, 0)}"


def check(program, directory, seed, hours):
    rng = random.Random(seed)
    scenario = make_scenario(rng, hours)
    file = directory / "scenario.json"
    file.write_text(json.dumps(scenario))
    state = str(directory / "state")
    run([program, "simulate", str(file), "--state", state, "--seed", str(seed), "--json"], (0,))
    truth = true_consumption.consumption(scenario)
    faults = []
    for arguments, daily, page in (("hourly", False, 0), ("hourly", False, rng.randint(1, 50)), ("daily", True, 0)):
        got = usage_pages(program, state, ["--start", "2026-01-01T00:00:00Z", "--end", "2026-01-03T00:00:00Z",
                                           "--granularity", arguments], page)
        faults += [f"seed {seed}, {arguments}: {text}" for text in differences(flat(truth, daily), got)]
    return len(flat(truth, False)), faults


def main():
    program, where = sys.argv[1], pathlib.Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    first = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    where.mkdir(parents=True, exist_ok=True)
    compared = 0
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory(dir=where) as directory:
            rows, faults = check(program, pathlib.Path(directory), seed, hours=4)
        if faults:
            sys.exit("\n".join(faults[:20]))
        compared += rows
    # The comparison itself has to be able to fail.
    if not list(differences({("h", "v", "m"): 1}, {})) or compared < 50 * count:
        sys.exit(f"nothing was compared: {compared}")
    print(f"{count} scenarios, {compared} quantities of VM, hour and meter: all equal")


if __name__ == "__main__":
    main()
