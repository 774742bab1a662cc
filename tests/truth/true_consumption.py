#!/usr/bin/env python3
"""True consumption of a scenario (the file that `nodemeter simulate` takes), from the file alone.

    true_consumption.py SCENARIO.json

prints {"<hour>": {"<vm>": {"<meter>": base units}}}. It is written from the product's rules and shares nothing with the
program: allocation counts while a VM is present, whatever its power; memory while it is running or paused; counters
while it runs, each floor(rate * running ms / 1000) since its run began. Whole numbers throughout.

Events of the node (crashes, steps of the clock, an absent aggregator) do not change what was consumed, but power_loss.
"""
import datetime
import json
import sys

HOUR_MS = 3_600_000
DISK = {"read_bytes_per_s": "disk-read-bytes", "write_bytes_per_s": "disk-write-bytes",
        "read_operations_per_s": "disk-read-operations", "write_operations_per_s": "disk-write-operations"}
NIC = {"receive_bytes_per_s": "network-receive-bytes", "transmit_bytes_per_s": "network-transmit-bytes",
       "receive_packets_per_s": "network-receive-packets", "transmit_packets_per_s": "network-transmit-packets"}


def instant(text):
    """Milliseconds since 1970."""
    t = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    delta = t - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def hour_text(hour):
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(hours=hour)).strftime("%Y-%m-%dT%H:00:00Z")


class Machine:
    """One VM's life as a list of stretches (from, to, vcores, powered, running, run, ms that the run had run before)."""

    def __init__(self, script, end):
        self.script, self.end = script, end
        self.at = None
        self.present = self.powered = self.paused = False
        self.vcores = script.get("vcores", 1)
        self.run, self.run_ms = 0, 0
        self.stretches = []
        self.restart = False

    def to(self, t):
        if self.present and t > self.at:
            running = self.powered and not self.paused
            self.stretches.append((self.at, t, self.vcores, self.powered, running, self.run, self.run_ms))
            if running:
                self.run_ms += t - self.at
        self.at = t

    def begin_run(self):
        self.powered, self.paused = True, False
        self.run, self.run_ms = self.run + 1, 0

    def apply(self, event, host_up):
        what = event["do"]
        on = self.present and self.powered
        if what == "arrive" and not self.present and host_up:
            self.present = True
            self.begin_run()
        elif what == "leave":
            self.present = self.powered = self.restart = False
        elif what == "start" and self.present and not on and host_up:
            self.begin_run()
        elif what == "stop":
            self.powered = self.restart = False
        elif what == "resize":
            self.vcores = event["vcores"]
        elif what == "pause" and on:
            self.paused = True
        elif what == "resume" and on:
            self.paused = False


def lives(scenario):
    start, end = instant(scenario["start"]), instant(scenario["end"])
    steps = []
    machines = {}
    arriving = {event["vm"] for event in scenario.get("events", []) if event["do"] == "arrive"}
    for script in scenario["vms"]:
        machines[script["id"]] = Machine(script, end)
        if script["id"] not in arriving:
            steps.append((instant(script.get("present_from", scenario["start"])), 0, {"do": "arrive", "vm": script["id"]}))
    for event in scenario.get("events", []):
        t = instant(event["at"])
        steps.append((t, 1, event))
        if event["do"] == "power_loss":
            steps.append((t + event["down_s"] * 1000, 1, {"do": "host returns"}))
    host_up = True
    for t, _, event in sorted(steps, key=lambda step: (step[0], step[1])):
        if t > end:
            break
        for machine in machines.values():
            machine.to(max(t, start))
        if event["do"] in ("power_loss", "host returns"):
            host_up = event["do"] == "host returns"
            for machine in machines.values():
                if host_up and machine.restart and machine.present:
                    machine.begin_run()
                machine.restart = not host_up and machine.present and machine.powered
                machine.powered = machine.powered and host_up
        elif event.get("vm") in machines:
            machines[event["vm"]].apply(event, host_up)
    for machine in machines.values():
        machine.to(end)
    return machines


def counted(rate, ms):
    return rate * ms // 1000


def consumption(scenario):
    use = {}
    for vm, machine in lives(scenario).items():
        script = machine.script
        disk_mib = sum(disk.get("capacity_mib", 0) for disk in script.get("disks", []))
        core_meter = "windows-vm-hours" if script.get("windows_licence", False) else "base-vm-hours"
        for begin, end, vcores, powered, running, _run, run_ms in machine.stretches:
            t = begin
            while t < end:
                edge = min(end, (t // HOUR_MS + 1) * HOUR_MS)
                ms = edge - t
                add = {"vm-hours": ms, core_meter: ms * vcores, "disk-allocated-hours": ms * disk_mib}
                if powered:
                    add["memory-hours"] = ms * script.get("memory_mib", 0)
                if running:
                    add["cpu-time"] = script.get("cpu_percent", 0) * vcores * ms * 10
                    before = run_ms + (t - begin)
                    for devices, names in ((script.get("disks", []), DISK), (script.get("nics", []), NIC)):
                        for device in devices:
                            for rate, meter in names.items():
                                per_s = device.get(rate, 0)
                                add[meter] = add.get(meter, 0) + counted(per_s, before + ms) - counted(per_s, before)
                hour = use.setdefault(hour_text(t // HOUR_MS), {}).setdefault(vm, {})
                for meter, quantity in add.items():
                    if quantity:
                        hour[meter] = hour.get(meter, 0) + quantity
                t = edge
    return use


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(consumption(json.load(file)), indent=1, sort_keys=True))
