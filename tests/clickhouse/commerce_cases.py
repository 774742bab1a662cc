"""The commerce records that SQL makes are those of the embedded aggregator, part by part."""

import json
import os
import subprocess

from fleet import check, deliver

SINCE = "2024-02-01"
# As README.md beside the schema gives them.
FORWARD = "INSERT INTO metering.commerce_parts SELECT * FROM metering.commerce_due(since = '{since}')"
RECORDS = ("SELECT toString(commerce_meter_id), toString(quantity), unit, toString(base_quantity), location, resource_uri, "
           "toString(subscription_id), toString(billing_subscription_id), toString(usage_start), toString(usage_end), "
           "toString(local_meter_id), toString(tenant_id), toString(vm_id) FROM metering.commerce_records "
           "WHERE day = '{day}' AND part = {part}")


def embedded(path):
    """A document's records as RECORDS gives them."""
    def instant(text):
        return text.replace("T", " ").replace("+00:00", "")

    document = json.loads(path.read_text(), parse_float=str, parse_int=str)
    return sorted((r["meterId"], r["quantity"], r["unit"], r["quantityBase"], r["location"], r["resourceUri"], r["subscriptionId"],
                   r["billingSubscriptionId"], instant(r["usageStartTime"]), instant(r["usageEndTime"]), r["localMeterId"],
                   r["additionalInfo"]["tenantId"], r["additionalInfo"]["vmId"]) for r in document["records"])


def commerce_is_the_embedded_ones(server, folder, binaries):
    """Rows of a small site go into both; what each makes of a day, and of what came later, has to be the same."""
    files = folder / "commerce"
    files.mkdir()
    subprocess.run([binaries / "tests" / "aggregator_tests", "[.commerce_files]"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "NODEMETER_COMMERCE_FILES": str(files)})
    server.run_file("commerce.sql")
    seen = {}

    def step(name, documents):
        for path in sorted(files.glob(f"rows-{name}-*.msgpack")):
            node = path.stem.split("-")[2]
            check(f"rows of {node}", deliver(server, "node_" + node, path.read_bytes(), path.name).status, 200)
        server.ask("INSERT INTO metering.registrations (document) FORMAT RawBLOB", body=(files / f"registration-{name}.json").read_bytes())
        server.run(FORWARD.format(since=SINCE))
        parts = {f"commerce-{day}-{part}" for day, part in server.rows("SELECT DISTINCT toString(day), part FROM metering.commerce_parts")}
        check(f"the parts after step {name}", parts, set(seen) | documents)
        for document in sorted(parts):
            day, part = document[len("commerce-"):].rsplit("-", 1)
            rows = sorted(server.rows(RECORDS.format(day=day, part=part)))
            check(document, rows, embedded(files / f"{document}.json"))
            check(f"{document} is what it was", rows, seen.setdefault(document, rows))
        check("nothing is due twice", server.value(f"SELECT count() FROM metering.commerce_due(since = '{SINCE}')"), 0)

    check("documents", {path.stem for path in files.glob("commerce-*.json")},
          {"commerce-2024-02-28-1", "commerce-2024-02-29-1", "commerce-2024-02-28-2", "commerce-2024-03-01-1"})
    step("1", {"commerce-2024-02-28-1", "commerce-2024-02-29-1"})
    step("2", {"commerce-2024-02-28-2", "commerce-2024-03-01-1"})
    check("records enough to tell", sum(len(rows) for rows in seen.values()) > 30, True)
    check("several payers", len({row[7] for rows in seen.values() for row in rows}) > 4, True)
    check("sums beyond 64 bits", max(int(row[3]) for rows in seen.values() for row in rows) > 2**64, True)

    # Forwarded again by two at once: the same parts.
    server.run("INSERT INTO metering.commerce_parts SELECT * FROM metering.commerce_parts")
    for document, rows in seen.items():
        day, part = document[len("commerce-"):].rsplit("-", 1)
        check(f"{document} after a second writer", sorted(server.rows(RECORDS.format(day=day, part=part))), rows)
    # A node that stays behind, and a registration that is not there, forward nothing.
    server.run("TRUNCATE TABLE metering.commerce_parts")
    server.run("ALTER TABLE metering.journal DELETE WHERE node_id = 'n3' AND kind = 'manifest'", mutations_sync=2)
    check("a node that has closed nothing holds all", server.value(f"SELECT count() FROM metering.commerce_due(since = '{SINCE}')"), 0)
    server.run("TRUNCATE TABLE metering.registrations")
    check("no registration is an error", server.ask(f"SELECT * FROM metering.commerce_due(since = '{SINCE}')").status != 200, True)
    for table in ("journal", "commerce_parts"):
        server.run(f"TRUNCATE TABLE metering.{table}")
