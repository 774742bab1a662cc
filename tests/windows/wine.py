"""Wine as the Windows that the tests have: a prefix of its own, set up once, ended with its server."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "site"))

from testsite import SiteError  # noqa: E402

WINE_PLACES = ("/usr/lib/wine/wine64", "wine64", "wine")

# A program that nobody expects to hang still may: Wine is not Windows.
RUNS_WITHIN_S = 600

REGISTRY = """Windows Registry Editor Version 5.00

[HKEY_CURRENT_USER\\Software\\Wine]
"Version"="win10"

[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\PrefetchParameters]
"BootId"=dword:00000001
"""


class Wine:
    def __init__(self, prefix):
        self.prefix = Path(prefix).resolve()
        self.program = next((found for place in WINE_PLACES if (found := shutil.which(place))), None)
        if self.program is None:
            raise SiteError("Wine is missing: platform/install windows")
        # No dialogue about missing parts, no debugger that prints pages when a program crashes, no display.
        self.environment = {**os.environ, "WINEPREFIX": str(self.prefix), "WINEDEBUG": "-all",
                            "WINEDLLOVERRIDES": "mscoree,mshtml=;winedbg.exe=d"}
        self.environment.pop("DISPLAY", None)
        self.keeper = None

    def __enter__(self):
        self.quietly("wineserver", "-k")  # What a run left that was broken off.
        if not (self.prefix / "ready").exists():
            shutil.rmtree(self.prefix, ignore_errors=True)
            self.prefix.mkdir(parents=True)
            self.quietly(self.program, "wineboot", "-i")
            settings = self.prefix / "settings.reg"
            settings.write_text(REGISTRY)
            self.quietly(self.program, "regedit", "/S", self.path(settings))
            self.quietly("wineserver", "-w")
            (self.prefix / "ready").touch()
        # Started here, with no stream of ours: it would keep a pipe open. It stays a while after the last program.
        self.quietly("wineserver", "-p30")
        # The system goes down with its last program and takes the services along: one has to stay.
        self.keeper = subprocess.Popen([self.program, "cmd"], env=self.environment, stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.keeper.stdin.close()
        self.quietly("wineserver", "-k")  # Ends what runs in this prefix, and nothing else.

    def quietly(self, *command):
        subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=RUNS_WITHIN_S, check=False)

    @staticmethod
    def path(path):
        """A path of this machine as Windows programs see it."""
        return "Z:" + str(Path(path).resolve()).replace("/", "\\")

    @property
    def drive(self):
        """The folder that Windows programs see as C:."""
        return self.prefix / "drive_c"

    def run(self, program, *arguments, cwd=None, variables=None, timeout=RUNS_WITHIN_S):
        """Runs a program to its end; gives its exit code and what it said."""
        command = [self.program, str(program), *(str(argument) for argument in arguments)]
        environment = {**self.environment, **(variables or {})}
        # Into files: Wine's own services keep the streams of the program that woke them, and a pipe would never end.
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            try:
                done = subprocess.run(command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                      timeout=timeout, check=False)
            except subprocess.TimeoutExpired:
                said = " ".join([Path(program).name, *map(str, arguments)])
                raise SiteError(f"{said} did not end within {timeout} s") from None
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())


def seconds_since(begun):
    return round(time.monotonic() - begun)
