"""Goal: completion and man pages say what the program takes, because they are made from the same definition.

Method: a real interactive bash sources the script and gets Tab pressed; man formats every page with all warnings on;
every option that `--help` of a verb names is in its page and in both scripts.

    shell_main.py BINARIES FOLDER
"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

from desk import Claims, run, say


class Shell:
    """bash on a terminal; `nodemeter` there shows what it was called with."""

    def __init__(self, script, folder):
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"],
                       {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "ready>", "INPUTRC": "/dev/null", "HISTFILE": ""})
        self.until("ready>")
        self.line("bind 'set enable-bracketed-paste off'; bind 'set bell-style none'")
        self.line(f"source {script}; nodemeter() {{ printf 'called'; printf '<%s>' \"$@\"; echo; }}")

    def until(self, text, timeout=30):
        seen, end = "", time.monotonic() + timeout
        while text not in seen:
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"{text!r} did not come: {seen!r}")
            seen += os.read(self.terminal, 65536).decode(errors="replace")
        return seen

    def line(self, keys):
        os.write(self.terminal, keys.encode() + b"\n")
        return self.until("ready>")

    def called(self, keys):
        """What a line with Tab in it has become."""
        found = re.search(r"called(.*)", self.line(keys).replace("\r", ""))
        return re.findall("<([^>]*)>", found[1]) if found else None

    def end(self):
        os.write(self.terminal, b"exit\n")
        os.waitpid(self.child, 0)


def complete(claims, script, folder):
    (folder / "some file.toml").touch()
    (folder / "some-folder").mkdir()
    shell = Shell(script, folder)
    try:
        for typed, becomes in (("nodemeter usa\t", ["usage"]),
                               ("nodemeter usage --gran\t", ["usage", "--granularity"]),
                               ("nodemeter usage --granularity ho\t", ["usage", "--granularity", "hourly"]),
                               ("nodemeter usage --granularity=ho\t", ["usage", "--granularity=hourly"]),
                               ("nodemeter usage --meter network-tr\tb\t", ["usage", "--meter", "network-transmit-bytes"]),
                               ("nodemeter journal ver\t", ["journal", "verify"]),
                               ("nodemeter journal backup --st\t", ["journal", "backup", "--state"]),
                               ("nodemeter status --config some\\ \t", ["status", "--config", "some file.toml"]),
                               ("nodemeter status --state som\t", ["status", "--state", "some-folder/"]),
                               ("nodemeter config check some\\ \t", ["config", "check", "some file.toml"]),
                               ("nodemeter status --format pr\t", ["status", "--format", "prometheus"]),
                               ("nodemeter usage --start pr\t", ["usage", "--start", "pr"])):
            got = shell.called(typed)
            claims.claim(f"{typed!r} becomes {becomes}", got == becomes, got)
    finally:
        shell.end()


def options_of(nodemeter, verb):
    text = run(nodemeter, *verb, "--help").stdout
    return text, set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text[:text.find("Example:")] if "Example:" in text else text))


def main():
    if not shutil.which("man"):
        say("man is missing (platform/install test installs it)")
        return 77
    nodemeter, folder = Path(sys.argv[1]).resolve() / "nodemeter", Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "man").mkdir(parents=True)
    claims = Claims()
    bash = run(nodemeter, "help", "--completion", "bash").stdout
    powershell = run(nodemeter, "help", "--completion", "powershell").stdout
    script = folder / "nodemeter.bash"
    script.write_text(bash)
    complete(claims, script, folder)

    run(nodemeter, "help", "--man", folder / "man")
    pages = {page.name: page.read_text() for page in (folder / "man").iterdir()}
    top, _ = options_of(nodemeter, [])
    verbs = re.findall(r"^  ([a-z-]+) ", top[top.index("Subcommands:"):], re.M)
    claims.claim(f"a page for each of {len(verbs)} verbs and one for the program",
                 set(pages) == {"nodemeter.1"} | {f"nodemeter-{verb}.1" for verb in verbs}, sorted(pages))
    deeper = []
    for verb in ("journal", "config"):
        below = run(nodemeter, verb, "--help").stdout.split("Subcommands:")[1].split("Example:")[0]
        deeper += [[verb, name] for name in re.findall(r"^  ([a-z-]+) ", below, re.M)]
    missing = []
    for verb in [[v] for v in verbs] + deeper:
        _, options = options_of(nodemeter, verb)
        page = pages[f"nodemeter-{verb[0]}.1"].replace("\\-", "-")
        words = re.search(f'^    "{" ".join(verb)}"\\) words="([^"]*)"', bash, re.M)
        listed = re.search(f"^    '{' '.join(verb)}' = @\\(([^)]*)\\)", powershell, re.M)
        for option in options:
            if option not in page or option not in words[1].split() or f"'{option}'" not in listed[1]:
                missing.append((verb, option))
        shown = run(nodemeter, "help", *verb).stdout
        if shown != run(nodemeter, *verb, "--help").stdout:
            missing.append((verb, shown))
    claims.claim("every option of --help is in the page and in both scripts", not missing, missing)
    complaints = []
    for name in sorted(pages):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(folder / "man" / name)],
                              text=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80",
                                                                   "MANROFFSEQ": ""})
        if done.returncode != 0 or done.stderr:
            complaints.append((name, done.stderr))
    claims.claim("man has no warning about any page", not complaints, complaints)
    if shutil.which("pwsh"):
        done = run("pwsh", "-NoProfile", "-Command", powershell +
                   "\n(TabExpansion2 'nodemeter usage --granularity ho' 36).CompletionMatches.CompletionText")
        claims.claim("PowerShell completes", done.stdout.strip() == "hourly", done.stdout)
    else:
        say("PowerShell is not here: its script is only compared with --help")
    for arguments in (("help", "nothing"), ("help", "--completion", "fish"), ("help", "--man", folder / "nowhere")):
        done = run(nodemeter, *arguments, check=False)
        claims.claim(f"{arguments[-1]} is refused", done.returncode in (1, 2) and done.stderr and not done.stdout, done)
    return 1 if claims.failures else 0


if __name__ == "__main__":
    sys.exit(main())
