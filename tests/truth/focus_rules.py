"""The rules of FOCUS 1.2 that a data set of usage charges has to keep: which columns, in what order, of what type, what
may be null, what values are allowed, and what has to agree within a row.

    complaints(text)  ->  a list of sentences; empty: the data set keeps them all
"""
import csv
import datetime
import io
import json
import re
from decimal import Decimal, InvalidOperation

# Name: (level, may be null, type). M mandatory, C conditional, R recommended, O optional.
_TABLE = """
AvailabilityZone R yes String|BilledCost M no Decimal|BillingAccountId M no String|BillingAccountName M yes String
BillingAccountType C yes String|BillingCurrency M no Currency|BillingPeriodEnd M no Time|BillingPeriodStart M no Time
CapacityReservationId C yes String|CapacityReservationStatus C yes String|ChargeCategory M no String
ChargeClass M yes String|ChargeDescription M yes String|ChargeFrequency R no String|ChargePeriodEnd M no Time
ChargePeriodStart M no Time|CommitmentDiscountCategory C yes String|CommitmentDiscountId C yes String
CommitmentDiscountName C yes String|CommitmentDiscountQuantity C yes Decimal|CommitmentDiscountStatus C yes String
CommitmentDiscountType C yes String|CommitmentDiscountUnit C yes Unit|ConsumedQuantity C yes Decimal
ConsumedUnit C yes Unit|ContractedCost M no Decimal|ContractedUnitPrice C yes Price|EffectiveCost M no Decimal
InvoiceId R yes String|InvoiceIssuerName M no String|ListCost M no Decimal|ListUnitPrice C yes Price
PricingCategory C yes String|PricingCurrency C yes Currency|PricingCurrencyContractedUnitPrice C yes Price
PricingCurrencyEffectiveCost C yes Decimal|PricingCurrencyListUnitPrice C yes Price|PricingQuantity M yes Decimal
PricingUnit M yes Unit|ProviderName M no String|PublisherName M no String|RegionId C yes String|RegionName C yes String
ResourceId C yes String|ResourceName C yes String|ResourceType C yes String|ServiceCategory M no String
ServiceName M no String|ServiceSubcategory R no String|SkuId C yes String|SkuMeter C yes String
SkuPriceDetails C yes Object|SkuPriceId C yes String|SubAccountId C yes String|SubAccountName C yes String
SubAccountType C yes String|Tags C yes Object"""
COLUMNS = {}
for _item in _TABLE.replace("\n", "|").strip("|").split("|"):
    _name, _level, _null, _type = _item.split()
    COLUMNS[_name] = (_level, _null == "yes", _type)
assert len(COLUMNS) == 57 and sum(level == "M" for level, _, _ in COLUMNS.values()) == 21

ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases",
                        "Developer Tools", "Identity", "Integration", "Internet of Things",
                        "Management and Governance", "Media", "Migration", "Mobile", "Multicloud", "Networking",
                        "Other", "Security", "Storage", "Web"},
}
# Of the categories that virtual machines have.
SUBCATEGORIES = {"Virtual Machines": "Compute", "Other (Compute)": "Compute", "Block Storage": "Storage",
                 "Other (Storage)": "Storage", "Other (Networking)": "Networking", "Other (Other)": "Other"}
COSTS = {"ListUnitPrice": "ListCost", "ContractedUnitPrice": "ContractedCost"}
# Present as soon as there is a price list.
OF_PRICE_LISTS = {"ListUnitPrice", "ContractedUnitPrice", "SkuPriceId", "SkuPriceDetails"}
# Columns that are null together, and not else.
PAIRS = [("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit"), ("SubAccountId", "SubAccountType"),
         ("RegionId", "RegionName"), ("ResourceId", "ResourceType"), ("SkuId", "SkuMeter")]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBER = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?")
TIMES = "Hours|Days|Weeks|Months|Years|Minutes|Seconds"
UNIT = re.compile(rf"(\d+ )?([A-Z][A-Za-z]*-({TIMES})|[A-Z][A-Za-z]*s?/(Hour|Day|Week|Month|Year|Minute|Second)"
                  r"|[KMGTPE]i?B|[A-Z][a-z]+s)")
FORMULA = tuple("=+-@\t\r")


def moment(text):
    """Nothing: not a time as the specification writes it, or none that exists."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ") if TIME.fullmatch(text) else None
    except ValueError:
        return None


def wrong_value(kind, text):
    """What keeps a text from being a value of its type, or ""."""
    if kind == "Time":
        return "" if moment(text) else "is no UTC time like 2026-01-01T00:00:00Z"
    if kind in ("Decimal", "Price"):
        if not NUMBER.fullmatch(text):
            return "is no plain number"
        return "is negative" if kind == "Price" and Decimal(text) < 0 else ""
    if kind == "Currency":
        return "" if re.fullmatch("[A-Z]{3}", text) else "is no ISO 4217 code"
    if kind == "Unit":
        return "" if UNIT.fullmatch(text) else "is no unit of the specification"
    if kind == "Object":
        try:
            value = json.loads(text)
        except ValueError:
            return "is no JSON"
        scalar = isinstance(value, dict) and not any(isinstance(v, (dict, list)) for v in value.values())
        return "" if scalar else "is no object of scalars"
    return ""


def header_complaints(header):
    for name, (level, _, _) in COLUMNS.items():
        if level == "M" and name not in header:
            yield f"{name} is missing"
    if len(set(header)) != len(header):
        yield "a column is there twice"
    own_from = next((i for i, name in enumerate(header) if name.startswith("x_")), len(header))
    for name in header[own_from:]:
        if not name.startswith("x_"):
            yield f"{name} stands behind a column of the provider's own"
    for name in header[:own_from]:
        if name not in COLUMNS:
            yield f"{name} is no column of FOCUS 1.2 and does not begin with x_"
    if header[:own_from] != sorted(header[:own_from]):
        yield "the columns of the specification are not in alphabetical order"
    if OF_PRICE_LISTS & set(header) not in (set(), OF_PRICE_LISTS):
        yield "some columns of a price list are there, and some are not"


def period_complaints(row):
    times = [moment(row[name]) for name in
             ("BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodEnd")]
    if None in times:
        return
    if not times[0] <= times[1] < times[2] <= times[3]:
        yield "the charge period is empty, or not within the billing period"
    if times[2] - times[1] not in (datetime.timedelta(hours=1), datetime.timedelta(days=1)):
        yield "the charge period is neither an hour nor a day"
    for name, time in (("BillingPeriodStart", times[0]), ("BillingPeriodEnd", times[3])):
        if (time.day, time.hour, time.minute, time.second) != (1, 0, 0, 0):
            yield f"{name} is not the beginning of a month"


def charge_complaints(row):
    correction = row["ChargeClass"] == "Correction"
    if row["ChargeCategory"] in ("Usage", "Purchase") and not correction:
        for name in ("PricingQuantity", "PricingUnit", "PricingCategory", "SkuId", *OF_PRICE_LISTS):
            if name in row and not row[name] and name != "SkuPriceDetails":
                yield f"{name} is null in a usage charge"
    if row["ChargeCategory"] == "Usage" and not row.get("ConsumedQuantity"):
        yield "ConsumedQuantity is null in a usage charge"
    if row.get("SkuPriceDetails") and not row.get("SkuPriceId"):
        yield "SkuPriceDetails without SkuPriceId"
    for price, cost in COSTS.items():
        try:
            if row.get(price) and not correction and \
                    Decimal(row[price]) * Decimal(row["PricingQuantity"]) != Decimal(row[cost]):
                yield f"{price} times PricingQuantity is not {cost}"
        except InvalidOperation:
            pass  # Said already.
    if row.get("ServiceSubcategory") and SUBCATEGORIES.get(row["ServiceSubcategory"]) != row["ServiceCategory"]:
        yield f"ServiceSubcategory {row['ServiceSubcategory']} is none of {row['ServiceCategory']}"


def row_complaints(row):
    for name, text in row.items():
        if text.startswith(FORMULA):
            yield f"{name} begins like a formula"
        if text in ("NULL", "null", "None", "NaN"):
            yield f"{name} says {text} instead of being null"
        if name not in COLUMNS:
            continue
        _, may_be_null, kind = COLUMNS[name]
        if not text and not may_be_null:
            yield f"{name} is null"
        if text and (what := wrong_value(kind, text)):
            yield f"{name} {what}: {text[:60]}"
        if text and name in ALLOWED and text not in ALLOWED[name]:
            yield f"{name} has a value that is not allowed: {text[:60]}"
    for one, other in PAIRS:
        if one in row and other in row and bool(row[one]) != bool(row[other]):
            yield f"only one of {one} and {other} is null"
    yield from period_complaints(row)
    yield from charge_complaints(row)


def read(text):
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    return lines[0], lines[1:]


def complaints(text):
    header, lines = read(text)
    found = list(header_complaints(header))
    if found:
        return found
    seen = {}
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            found.append(f"line {number} has {len(line)} fields")
            continue
        row = dict(zip(header, line))
        found += [f"line {number}: {what}" for what in row_complaints(row)]
        key = tuple(row[k] for k in ("ChargePeriodStart", "SubAccountId", "ResourceId", "SkuId") if k in row)
        if seen.setdefault(row["ServiceName"], row["ServiceCategory"]) != row["ServiceCategory"]:
            found.append(f"line {number}: {row['ServiceName']} is in two categories")
        if key in seen:
            found.append(f"line {number}: the same charge as line {seen[key]}")
        seen[key] = number
    return found
