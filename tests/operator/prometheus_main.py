"""Goal: what `status --format prometheus` prints is what Prometheus takes, and the dashboard asks for nothing else.

Method: a real agent with simulated guests, one of them with a hostile name; promtool checks the text; counters are
followed over two scrapes; every metric that the Grafana dashboard names has to be in the text.

    prometheus_main.py BINARIES FOLDER
"""

import json
import re
import shutil
import subprocess
import sys

from desk import HOSTILE, ROOT, Desk, guest, say, wait_until

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\["\\n])*",?)*)\})? (-?[0-9.]+)$')


def parsed(text):
    """Name and labels to value; a line that is no sample is an error."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        if not match:
            raise ValueError(f"not a sample: {line}")
        samples[(match[1], match[2] or "")] = float(match[3])
    return samples


def expressions_of_dashboard():
    dashboard = json.loads((ROOT / "platform" / "grafana" / "nodemeter.json").read_text())
    expressions = []

    def walk(value):
        if isinstance(value, dict):
            expressions.extend(v for k, v in value.items() if k in ("expr", "query", "definition") and isinstance(v, str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(dashboard)
    return expressions


def names_in_dashboard():
    return {name for text in expressions_of_dashboard() for name in re.findall(r"\bnodemeter_[a-z_]+", text)}


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *arguments], input=text, text=True, capture_output=True)


def look(desk):
    site = desk.site
    command = ("status", "--format", "prometheus")

    def scrape():
        done = site.nodemeter(*command)
        return done.stdout

    def value(samples, name):
        return sum(v for (found, _), v in samples.items() if found == name)

    absent = site.nodemeter(*command, check=False)
    desk.claim("without an agent: nodemeter_up 0, and exit code 3",
               absent.returncode == 3 and parsed(absent.stdout) == {("nodemeter_up", ""): 0.0}, absent)
    desk.start()
    wait_until(lambda: "nodemeter_vm_cpu_seconds_total" in scrape(), "no counter is known", site.agent)
    first = scrape()
    wait_until(lambda: value(parsed(scrape()), "nodemeter_vm_vcore_seconds_total") >
                  value(parsed(first), "nodemeter_vm_vcore_seconds_total") + 7200, "no counter moved", site.agent)
    # At this speed an hour passes in a second: the journal's growth is known, and delivery is behind.
    wait_until(lambda: "nodemeter_journal_growth_daily_bytes" in scrape(), "the journal's growth stayed unknown",
                  site.agent, timeout=200)
    text = scrape()
    checked = promtool("check", "metrics", text=text)
    desk.claim("promtool has nothing to say", checked.returncode == 0 and not checked.stdout + checked.stderr,
               checked.stdout + checked.stderr)
    before, after = parsed(first), parsed(text)
    counters = [key for key in before if key[0].endswith("_total")]
    desk.claim("13 counters per VM", len(counters) == 39, sorted(counters))
    desk.claim("no counter falls", all(after[key] >= before[key] for key in counters),
               [(key, before[key], after[key]) for key in counters if after.get(key, -1) < before[key]])
    vm = 'vm="6f1c0000-0000-4000-8000-000000000002"'

    def advance(name):
        return after[(name, vm)] - before[(name, vm)]

    time = advance("nodemeter_vm_allocated_seconds_total")
    expected = {"nodemeter_vm_vcore_seconds_total": 2, "nodemeter_vm_cpu_seconds_total": 2 * 0.2,
                "nodemeter_vm_memory_byte_seconds_total": 3 * 2**30, "nodemeter_vm_disk_byte_seconds_total": 20482 * 2**20,
                "nodemeter_vm_disk_read_bytes_total": 200_000, "nodemeter_vm_disk_written_bytes_total": 4_006,
                "nodemeter_vm_disk_read_operations_total": 7, "nodemeter_vm_disk_write_operations_total": 23,
                "nodemeter_vm_network_receive_bytes_total": 10_002, "nodemeter_vm_network_transmit_bytes_total": 70_003,
                "nodemeter_vm_network_receive_packets_total": 5, "nodemeter_vm_network_transmit_packets_total": 11}
    wrong = [(name, advance(name), rate * time) for name, rate in expected.items()
             if abs(advance(name) - rate * time) > 2 + 1e-6 * rate * time]
    desk.claim(f"over {time} s every counter advances at the scenario's rate", time > 7200 and not wrong, wrong)
    escaped = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    desk.claim("a hostile name is one label", any(f'name="{escaped}"' in labels for _, labels in after), text)
    missing = names_in_dashboard() - {name for name, _ in after}
    desk.claim(f"the dashboard names {len(names_in_dashboard())} metrics, and all exist",
               len(names_in_dashboard()) > 12 and not missing, missing)
    queries = [q.replace("$__rate_interval", "5m") for q in expressions_of_dashboard() if not q.startswith("label_values")
               and q != "prometheus"]
    rules = desk.folder / "rules.json"
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": [
        {"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]}]}))
    checked = promtool("check", "rules", rules)
    desk.claim(f"its {len(queries)} queries are PromQL", len(queries) > 10 and checked.returncode == 0,
               checked.stdout + checked.stderr)
    target = desk.folder / "textfile" / "nodemeter.prom"
    target.parent.mkdir()
    done = site.nodemeter(*command, "--out", target)
    desk.claim("--out replaces a file as a whole and leaves nothing else there",
               done.stdout == "" and "nodemeter_up 1" in target.read_text() and
               [p.name for p in target.parent.iterdir()] == ["nodemeter.prom"], done)
    site.agent.stop()
    site.nodemeter(*command, "--out", target, check=False)
    desk.claim("the file says so when the agent is gone", parsed(target.read_text()) == {("nodemeter_up", ""): 0.0},
               target.read_text())


def main():
    if not shutil.which("promtool"):
        say("promtool is missing (platform/install test installs it)")
        return 77
    desk = Desk(sys.argv[1], sys.argv[2], "nodemeter-prometheus", [guest(1, HOSTILE), guest(2, "web-2"), guest(3, "web-3")],
                speed=3600, interval="10m")
    site = desk.site
    site.port = 9  # Nobody listens there: a backlog, and the delivery that waits, are shown too.
    site.write_config()
    try:
        look(desk)
    finally:
        code = desk.end()
    return code


if __name__ == "__main__":
    sys.exit(main())
