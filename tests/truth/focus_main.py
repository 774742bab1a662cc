#!/usr/bin/env python3
"""Goal: `nodemeter usage --format focus` gives data sets that keep the rules of FOCUS 1.2, with the quantities that were
metered and costs that are right to the last digit.

Method: a scenario with names that a spreadsheet would run is played by `nodemeter simulate`; its journal is exported by
hour and day, by usage and reported time, with and without prices, whole and in pages. focus_rules.py judges every data
set; quantities and costs are computed again here, in decimal arithmetic, from `journal cat`. Then the judge is judged:
each rule is broken once in a good data set, and has to be complained of.

    focus_main.py NODEMETER DIRECTORY
"""
import csv
import io
import json
import pathlib
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from fractions import Fraction

import focus_rules

getcontext().prec = 200
MONTH_EDGE = "2026-01-31T22:00:00Z"
END = "2026-02-01T02:00:00Z"
PRICES = {"base-vm-hours": "0.0081234567", "windows-vm-hours": "0.046", "memory-hours": "0.003",
          "disk-allocated-hours": "0.0000070001", "disk-read-operations": "12.5", "network-transmit-bytes": "999999999.9999999999"}
# Base units of one shown unit, and of one that is consumed.
HOUR = 3_600_000
UNITS = {"base-vm-hours": (HOUR, HOUR), "windows-vm-hours": (HOUR, HOUR), "vm-hours": (HOUR, HOUR),
         "cpu-time": (HOUR * 1000, HOUR * 1000)}
for _name in ("memory-hours", "disk-allocated-hours"):
    UNITS[_name] = (Fraction(HOUR * 10**9, 2**20),) * 2
for _name in ("disk-read-bytes", "disk-write-bytes", "network-receive-bytes", "network-transmit-bytes"):
    UNITS[_name] = (10**9, 10**9)
for _name in ("disk-read-operations", "disk-write-operations"):
    UNITS[_name] = (10_000, 1)
for _name in ("network-receive-packets", "network-transmit-packets"):
    UNITS[_name] = (1, 1)


def scenario():
    def vm(number, name, **more):
        return {"id": f"6f1c0000-0000-4000-8000-{number:012d}", "name": name, "vcores": number * 3, "memory_mib": 1_000_003,
                "subscription": f"aaaaaaaa-0000-4000-8000-{number % 2:012d}", "resource_group": "rg",
                "tenant": "bbbbbbbb-0000-4000-8000-000000000001", "cpu_percent": 37,
                "disks": [{"id": "sda", "capacity_mib": 70_001, "read_bytes_per_s": 1_234_567, "write_bytes_per_s": 3,
                           "read_operations_per_s": 17, "write_operations_per_s": 10_007}],
                "nics": [{"id": "eth0", "receive_bytes_per_s": 7, "transmit_bytes_per_s": 10**9 + 7,
                          "receive_packets_per_s": 1, "transmit_packets_per_s": 99_991}], **more}
    return {"start": MONTH_EDGE, "end": END, "sample_interval_s": 60,
            "vms": [vm(1, "=HYPERLINK(\"http://x\")"), vm(2, "a,\"b\"", windows_licence=True), vm(3, "@SUM(A1)")],
            "events": [{"at": "2026-01-31T23:17:00Z", "do": "resize", "vm": "6f1c0000-0000-4000-8000-000000000003", "vcores": 11},
                       {"at": "2026-02-01T00:31:00Z", "do": "agent_crash", "down_s": 600}]}


def run(command, codes):
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def journal_sums(program, state, start, end, by, daily):
    """{(start of the bucket, vm, meter): base units}, straight from the entries."""
    sums = {}
    for line in run([program, "journal", "cat", "--state", state, "--json"], (0,))[0].splitlines():
        entry = json.loads(line)
        if entry["kind"] != "usage":
            continue
        at = entry["usageStart"] if by == "usage" else entry["reportedAt"]
        if not start <= at < end:
            continue
        bucket = entry["usageStart"][:10] + "T00:00:00Z" if daily else entry["usageStart"][:13] + ":00:00Z"
        for meter in entry["meters"]:
            key = (bucket, entry["vm"], meter["name"])
            sums[key] = sums.get(key, 0) + int(meter["quantity"])
    return sums


def rounded(fraction):
    """Half-even to ten decimals."""
    scaled = fraction * 10**10
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest
    if twice > scaled.denominator or (twice == scaled.denominator and whole % 2 == 1):
        whole += 1
    return Decimal(whole).scaleb(-10).quantize(Decimal("1e-10"), rounding=ROUND_HALF_EVEN)


def check_numbers(text, sums, priced):
    header, lines = focus_rules.read(text)
    expect(len(lines) == len(sums), f"{len(lines)} rows for {len(sums)} sums")
    for line in lines:
        row = dict(zip(header, line))
        meter = row["SkuMeter"]
        base = sums[(row["ChargePeriodStart"], row["x_VmId"], meter)]
        priced_by, consumed_by = UNITS[meter]
        expect(int(row["x_QuantityBase"]) == base, f"{row}: metered {base}")
        expect(Decimal(row["PricingQuantity"]) == rounded(Fraction(base) / priced_by), f"{row}: {base} in shown units")
        expect(Decimal(row["ConsumedQuantity"]) == rounded(Fraction(base) / consumed_by), f"{row}: {base} consumed")
        price = Decimal(PRICES.get(meter, "0")) if priced else Decimal(0)
        for cost in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
            expect(Decimal(row[cost]) == rounded(Fraction(base) / priced_by) * price, f"{row}: {cost}")


def pages(program, arguments):
    """The whole data set, put together from pages of seven rows."""
    lines, token = [], None
    while True:
        more = ["--continuation", token] if token else []
        text, said = run([program, *arguments, "--page-size", "7", *more], (0, 3))
        lines += text.splitlines(keepends=True)[1 if lines else 0:]
        found = [line.split()[-1] for line in said.splitlines() if "--continuation" in line]
        if not found:
            return "".join(lines)
        token = found[0]


def check_exports(program, directory, state, price_file):
    good = ""
    count = 0
    for daily in (False, True):
        start, end = ("2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z")
        for by in ("usage", "reported"):
            sums = journal_sums(program, state, start, end, by, daily)
            for priced in (False, True):
                arguments = ["usage", "--state", state, "--start", start, "--end", end, "--by", by, "--granularity",
                             "daily" if daily else "hourly", "--format", "focus"]
                arguments += ["--prices", str(price_file)] if priced else []
                text, _ = run([program, *arguments], (0, 3))
                found = focus_rules.complaints(text)
                expect(not found, f"{arguments}: {found[:5]}")
                check_numbers(text, sums, priced)
                expect(pages(program, arguments) == text, f"{arguments}: pages are not the whole")
                count += len(sums)
                good = text if priced and not daily else good
    expect(count > 400, f"only {count} rows")
    return good, count


def broken(text, change):
    header, lines = focus_rules.read(text)
    rows = [dict(zip(header, line)) for line in lines]
    header, rows = change(header, rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows([row.get(name, "") for name in header] for row in rows)
    return out.getvalue()


def judge_the_judge(good):
    """Every rule, broken once."""
    def value(name, new):
        return lambda header, rows: (header, [{**rows[0], name: new}, *rows[1:]])

    changes = {f"no {name}": (lambda n: lambda header, rows: ([x for x in header if x != n], rows))(name)
               for name, (level, _, _) in focus_rules.COLUMNS.items() if level == "M"}
    changes |= {f"{name} null": value(name, "") for name, (level, null, _) in focus_rules.COLUMNS.items()
                if level == "M" and not null}
    changes |= {f"{name} {new}": value(name, new) for name, new in (
        ("ListCost", "1,5"), ("ListCost", "0.123"), ("ContractedCost", "7"), ("ListUnitPrice", "-1"), ("BillingCurrency", "Euro"),
        ("ChargeCategory", "usage"), ("ChargeClass", "Regular"), ("ChargeFrequency", "Hourly"), ("PricingCategory", "Fixed"),
        ("ServiceCategory", "Machines"), ("ServiceSubcategory", "Block Storage"), ("ConsumedUnit", ""), ("PricingUnit", "vcore hours"),
        ("PricingQuantity", ""), ("SkuPriceId", ""), ("SubAccountType", ""), ("Tags", "{\"a\":[1]}"), ("Tags", "x"),
        ("ChargePeriodStart", "2026-01-31T22:00:00+00:00"), ("ChargePeriodEnd", "2026-01-31T22:00:00Z"),
        ("ChargePeriodEnd", "2026-02-31T22:00:00Z"), ("BillingPeriodEnd", "2026-02-02T00:00:00Z"), ("RegionName", ""),
        ("BillingPeriodStart", "2026-02-01T00:00:00Z"), ("ResourceName", "=1"), ("BillingAccountName", "NULL"), ("SkuMeter", ""))}
    changes |= {
        "a column of nobody's": lambda header, rows: (["Beer", *header], rows),
        "an own column in front": lambda header, rows: ([header[-1], *header[:-1]], rows),
        "another order": lambda header, rows: ([header[1], header[0], *header[2:]], rows),
        "a column twice": lambda header, rows: ([*header, header[-1]], rows),
        "a price column alone": lambda header, rows: ([x for x in header if x != "SkuPriceId"], rows),
        "a charge twice": lambda header, rows: (header, [*rows, rows[0]]),
    }
    expect(not focus_rules.complaints(broken(good, lambda header, rows: (header, rows))), "the unbroken copy")
    for name, change in changes.items():
        expect(focus_rules.complaints(broken(good, change)), f"nobody complains of: {name}")
    return len(changes)


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    directory.mkdir(parents=True)
    (directory / "scenario.json").write_text(json.dumps(scenario()))
    state = str(directory / "state")
    run([program, "simulate", str(directory / "scenario.json"), "--state", state], (0,))
    price_file = directory / "prices.json"
    listed = ", ".join(f'"{name}": {price}' for name, price in PRICES.items())
    price_file.write_text(f'{{"currency": "EUR", "prices": {{{listed}}}}}')
    good, rows = check_exports(program, directory, state, price_file)
    expect("'=HYPERLINK" in good and "'@SUM" in good, "formulas in names")
    price_file.write_text('{"currency": "EUR",\n"prices": {"base-vm-hours": "free"}}')
    _, said = run([program, "usage", "--state", state, "--start", "2026-01-31", "--end", "2026-02-01", "--format", "focus",
                   "--prices", str(price_file)], (2,))
    expect("prices.json:2: prices.base-vm-hours" in said, said)
    print(f"{rows} rows keep the rules; {judge_the_judge(good)} ways to break one are found")


main()
