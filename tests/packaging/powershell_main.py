"""Goal: install.ps1 and uninstall.ps1 are PowerShell. No PowerShell runs here, so this is all that is known of them.

Method: a grammar of the language that editors use (tree-sitter's) parses both. Then each bracket and each quotation mark
that the grammar cannot do without is taken away in turn: every such script must be complained of, or this shows nothing.

    powershell_main.py

Ends with 77 (skipped) only if the grammar is neither in the cache nor to be had from the registry.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "site"))

from npm_package import PackageError, PackageMissing, files_of  # noqa: E402

SCRIPTS = ("platform/windows/install.ps1", "platform/windows/uninstall.ps1")
PARSER = ("web-tree-sitter@0.27.1",
          "qtx0VyUyNRHtL3ze7+v0hCKB/sLcAmY7ZAVp/ZK/bCj0yED8ptvNrr7Vd7DwDyKDWN9baqcUx4uaD2r2ql+6IA==", "powershell",
          ["web-tree-sitter.cjs", "web-tree-sitter.wasm"])
GRAMMAR = ("tree-sitter-powershell@0.26.4",
           "5RwNW/qN/cKArZY0znvTOG+OWSau7Agel5K0A8KQ5Nubw/4SyZ5KC02RKCaYcA2ur5UQ8esyxe9+6yXup2MXkw==", "powershell",
           ["tree-sitter-powershell.wasm"])
# Without a "'", a "(" or a "[" what follows may be an argument of a command, and is for this grammar.
NEEDED = "{})]\""


def parse(texts):
    """For each text its faults, as (line, what)."""
    parser = files_of(*PARSER) / "web-tree-sitter.cjs"
    grammar = files_of(*GRAMMAR) / "tree-sitter-powershell.wasm"
    node = shutil.which("node")
    if node is None:
        raise PackageError("node is not installed: platform/install test")
    done = subprocess.run([node, str(Path(__file__).with_name("parse_powershell.cjs")), str(parser), str(grammar)],
                          input=json.dumps(texts), text=True, capture_output=True, timeout=300)
    if done.returncode != 0:
        raise PackageError(f"the parser failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def broken_ones(text):
    """(line, text without one of the needed characters), outside of comments."""
    code_begins = text.index("[CmdletBinding()]")
    for place in range(code_begins, len(text)):
        line = text[text.rindex("\n", 0, place) + 1:place]
        if text[place] in NEEDED and not line.lstrip().startswith("#"):
            yield text.count("\n", 0, place) + 1, text[:place] + text[place + 1:]


def main():
    complaints, tried = [], 0
    for name in SCRIPTS:
        text = (ROOT / name).read_text()
        broken = list(broken_ones(text))
        tried += len(broken)
        faults, *of_broken = parse([text, *(script for _, script in broken)])
        complaints += [f"{name}:{line}: {what}" for line, what in faults]
        complaints += [f"{name}:{line}: broken here, and the parser sees nothing"
                       for (line, _), found in zip(broken, of_broken) if not found]
    print("\n".join(complaints) or f"both scripts are PowerShell; {tried} broken ones were complained of")
    return 1 if complaints or not tried else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PackageMissing as missing:
        print(missing)
        sys.exit(77)
    except PackageError as error:
        sys.exit(f"powershell_main.py: {error}")
