"""Goal: the page of `report` says what the journal says, needs nothing but itself, and is fit to be looked at.

Method: a simulated week with hostile names, gaps and more subscriptions than colours; the page is read with an HTML
parser and its figures are compared with `usage`; Chromium without network draws it light and dark, and the pixels tell
whether the bars of the chart are there.

    report_main.py BINARIES FOLDER
"""

import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from pathlib import Path

from desk import HOSTILE, Claims, guest, run, say, scenario

VOID = {"meta", "br", "rect", "line"}
NAMES = [HOSTILE, "</title></style><img src=x onerror=alert(1)>", "&lt;b&gt;", "'\" onmouseover='alert(1)", "Grüße", ""]


class Page(HTMLParser):
    """Elements in order, their text, and everything that is not well-formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.elements, self.faults, self.cells, self.titles = [], [], [], [[]], []
        self.feed(text)
        self.close()
        self.faults += [f"{name} stays open" for name in self.stack]

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name == "tr":
            self.cells.append([])
        if name in ("td", "th") and self.cells:
            self.cells[-1].append("")
        if name == "title":
            self.titles.append("")
        if name not in VOID:
            self.stack.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        if not self.stack or self.stack.pop() != name:
            self.faults.append(f"{name} ends what it did not begin")

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "title":
            self.titles[-1] += data
        if "td" in self.stack or "th" in self.stack:
            self.cells[-1][-1] += data


def pixels(path):
    """An 8-bit RGB or RGBA PNG as rows of RGB triples."""
    data = path.read_bytes()
    at, packed, width, height, kind = 8, b"", 0, 0, 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        chunk = data[at + 8:at + 8 + size]
        if name == b"IHDR":
            width, height, depth, kind = struct.unpack(">IIBB", chunk[:10])
            if depth != 8 or kind not in (2, 6):
                raise ValueError(f"depth {depth}, colour type {kind}")
        if name == b"IDAT":
            packed += chunk
        at += size + 12
    step = 3 if kind == 2 else 4
    raw, rows, above = zlib.decompress(packed), [], bytearray(width * step)
    for y in range(height):
        begin = y * (width * step + 1)
        how, line = raw[begin], bytearray(raw[begin + 1:begin + 1 + width * step])
        for i in range(len(line)):
            left = line[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            if how == 1:
                line[i] = (line[i] + left) & 255
            elif how == 2:
                line[i] = (line[i] + above[i]) & 255
            elif how == 3:
                line[i] = (line[i] + (left + above[i]) // 2) & 255
            elif how == 4:
                guess = left + above[i] - corner
                near = min((abs(guess - left), 0, left), (abs(guess - above[i]), 1, above[i]), (abs(guess - corner), 2, corner))
                line[i] = (line[i] + near[2]) & 255
        rows.append(line)
        above = line
    return [[tuple(row[x * step:x * step + 3]) for x in range(width)] for row in rows]


def browser():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def draw(page, out, dark):
    program = browser()
    if not program:
        return None
    run(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", f"--user-data-dir={out.parent}/profile", "--window-size=800,640",
        *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []), f"--screenshot={out}",
        page.as_uri(), timeout=120)
    return pixels(out)


def print_width(claims, page):
    """What is wider than its sheet is cut off on paper: nobody can scroll there."""
    program = browser()
    if not program:
        return
    measure = ("<script>const b=document.body,over=[...document.querySelectorAll('*')].filter("
               "e=>e.getBoundingClientRect().right>b.getBoundingClientRect().right+1);"
               "document.title='over '+over.length+' of '+Math.round(b.getBoundingClientRect().width)</script>")
    printed = page.with_name("printed.html")
    text = page.read_text()
    sheet = 1031 if "@page{size:A4 landscape;margin:12mm}" in text else 703  # Pixels of an A4 sheet less its margins.
    text = text.replace("@media print{", f"@media screen{{body{{width:{sheet}px}}")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)  # The page itself lets no script run.
    printed.write_text(text.replace("</body>", measure + "</body>"))
    shown = run(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                f"--user-data-dir={page.parent}/profile", "--dump-dom", printed.as_uri(), timeout=120).stdout
    title = re.search(r"<title>(over \d+ of \d+)</title>", shown)
    claims.claim("printed: nothing is wider than the sheet", title and title[1] == f"over 0 of {sheet}", title and title[1])


def look(claims, page):
    for scheme, paper, first in (("light", (255, 255, 255), (0x09, 0x69, 0xda)), ("dark", (0x0f, 0x14, 0x19), (0x4a, 0x9e, 0xff))):
        drawn = draw(page, page.with_name(f"{scheme}.png"), scheme == "dark")
        if drawn is None:
            say("Chromium is missing (platform/install test installs it): the page is not drawn")
            return
        flat = [pixel for row in drawn for pixel in row]
        claims.claim(f"{scheme}: the paper has its colour", drawn[3][3] == paper, drawn[3][3])
        claims.claim(f"{scheme}: the chart is drawn ({flat.count(first)} pixels of its first colour)",
                     flat.count(first) > 5_000, flat.count(first))
        claims.claim(f"{scheme}: there is text", sum(1 for p in flat if sum(abs(a - b) for a, b in zip(p, paper)) > 300) > 2_000)


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    claims = Claims()
    vms = [guest(n, NAMES[n] if n < len(NAMES) else f"web-{n}", subscription=n % 9, cpu=5 + n * 3, vcores=8 - n % 8)
           for n in range(24)]
    events = [{"at": "2026-01-02T03:10:30Z", "do": "agent_crash", "down_s": 5400},
              {"at": "2026-01-03T12:00:30Z", "do": "source_down", "for_s": 2000}]
    (folder / "scenario.json").write_text(json.dumps(scenario(vms, events, end="2026-01-05T00:00:00Z", interval=1200)))
    nodemeter, state = binaries / "nodemeter", folder / "state"
    run(nodemeter, "simulate", folder / "scenario.json", "--state", state)
    page = folder / "report.html"
    span = ("--start", "2026-01-01", "--end", "2026-01-05", "--state", state)
    done = run(nodemeter, "report", *span, "--out", page, check=False)
    claims.claim("exit code 3 and a sentence, because there were gaps", done.returncode == 3 and "incomplete" in done.stderr, done)
    text = page.read_text()
    read = Page(text)
    claims.claim("well-formed", not read.faults and read.elements[0][0] == "html", read.faults)
    names = {name for name, _ in read.elements}
    claims.claim("no script, no image, no frame, no link", not names & {"script", "img", "iframe", "object", "link", "a", "form"}, names)
    risky = [a for _, attributes in read.elements for a in attributes if a.startswith("on") or a in ("src", "href", "style")]
    claims.claim("no attribute that runs or loads anything", not risky and "url(" not in text and "@import" not in text, risky)
    rows = {tuple(row) for row in read.cells}
    shown = {row[0] for row in rows if row}
    for vm in vms[:len(NAMES)]:
        claims.claim(f"the name {vm['name']!r} is text", (vm["name"] or vm["id"]) in shown, shown)

    usage = json.loads(run(nodemeter, "usage", *span, "--granularity", "daily", "--json", check=False).stdout,
                       parse_float=Decimal, parse_int=Decimal)["value"]
    sums = {}
    for row in usage:
        subscription = row["properties"]["subscriptionId"]
        if row["properties"]["meterName"] == "base-vm-hours":
            sums[subscription] = sums.get(subscription, 0) + row["properties"]["quantity"]
    wrong = []
    for subscription, quantity in sums.items():
        expected = f"{quantity.quantize(Decimal('0.001'), ROUND_HALF_UP)}"
        row = next((r for r in rows if r and r[0] == subscription), None)
        if not row or row[2].replace("\u202f", "") != expected:
            wrong.append((subscription, expected, row))
    claims.claim(f"base vcore hours of {len(sums)} subscriptions as `usage` has them", len(sums) > 4 and not wrong, wrong)
    bars = [title for title in read.titles if title.endswith("vcore hours")]
    claims.claim("a bar an hour", len(bars) == 96, len(bars))
    gaps = [title for title in read.titles if ": with gaps" in title]
    claims.claim("the hours with gaps", [g[:13] for g in gaps] == ["2026-01-02T03", "2026-01-02T04", "2026-01-03T12"], gaps)
    claims.claim("the causes", {row[3] for row in rows if len(row) == 4} >= {"agent down", "source failed"}, rows)
    claims.claim("the verdict on the chain", re.search(r"The chain of all [0-9]+ entries holds", text))
    complete = run(nodemeter, "report", "--start", "2026-01-01", "--end", "2026-01-02", "--state", state, "--out", "-")
    claims.claim("a day without gaps: exit code 0, on standard output", "Every hour is closed" in complete.stdout)
    for arguments in (("--start", "2026-01-01T00:30:00Z", "--end", "2026-01-02"), ("--start", "x", "--end", "2026-01-02")):
        refused = run(nodemeter, "report", *arguments, "--state", state, "--out", "-", check=False)
        claims.claim(f"{arguments[1]} is refused with exit code 2", refused.returncode == 2 and not refused.stdout, refused)
    look(claims, page)
    print_width(claims, page)
    return 1 if claims.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.TimeoutExpired as slow:
        say(f"FAIL  {slow}")
        sys.exit(1)
