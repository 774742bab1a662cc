"""Goal: what is built for Windows holds there what its tests promise, and needs nothing but Windows.

Method: every test program of the cross build runs under Wine; what was left out is named with its reason. The programs'
import tables are compared with the list of Windows' own libraries.

    suites_main.py BUILD
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from wine import Wine, seconds_since  # First: it says where testsite is.

from testsite import SiteError, main_guard, say

TESTS = Path(__file__).resolve().parents[1]

# Parts of every Windows Server since 2016.
OF_WINDOWS = {"advapi32.dll", "bcrypt.dll", "crypt32.dll", "kernel32.dll", "msvcrt.dll", "ncrypt.dll", "netapi32.dll",
              "ntdll.dll", "ole32.dll", "oleaut32.dll", "pdh.dll", "shell32.dll", "user32.dll", "userenv.dll",
              "ws2_32.dll"}

# Why tests are not in the Windows build: by file name, and for some by what they are about.
LEFT_OUT = {"_posix_test.cpp": "other processes by fork(), signals, accounts or modes of POSIX; "
                                 "*_windows_test.cpp are their like",
            # Its source package is in Debian's list (0~1033-08b5058-3) and not on its servers, and nothing else has it.
            "_property_test.cpp": "the sources of the property-test library (rapidcheck) cannot be fetched"}
LAYERS = ("agent", "cli", "collectors", "platform", "sim", "store", "uploader")
ELSEWHERE = "the aggregator's tests (tests/aggregator): it is a Linux program; tests/windows/service_main.py runs it"

# One test under Wine that would prove nothing there, or cannot hold: name, reason.
NOT_UNDER_WINE = {}


def imports(program):
    done = subprocess.run(["x86_64-w64-mingw32-objdump", "-p", str(program)], text=True, capture_output=True, check=True)
    return {name.lower() for name in re.findall(r"DLL Name: (\S+)", done.stdout)}


def check_imports(programs):
    for program in programs:
        foreign = imports(program) - OF_WINDOWS
        if foreign:
            raise SiteError(f"{program.name} needs {', '.join(sorted(foreign))}, which Windows does not bring")


def left_out():
    for layer in LAYERS:
        for file in sorted((TESTS / layer).glob("*_test.cpp")):
            reason = next((why for ending, why in LEFT_OUT.items() if file.name.endswith(ending)), None)
            if reason:
                for name in re.findall(r'TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"', file.read_text()):
                    yield f"{file.relative_to(TESTS)}: {name}", reason
    for name, reason in NOT_UNDER_WINE.items():
        yield name, reason


def passed_in(output):
    """Catch2's own count, or nothing if the program did not come to its end."""
    everything = re.search(r"All tests passed \(\d+ assertions? in (\d+) test cases?\)", output)
    if everything:
        return int(everything[1])
    some = re.search(r"test cases:\s*(\d+)\s*\|\s*(?:(\d+) passed)?", output)
    return int(some[2] or 0) if some else None


def run(wine, program, *arguments, **how):
    """Once more if Wine ended it: our own ends say something, or have another code (3 aborted, 5 out of bounds)."""
    done = wine.run(program, *arguments, **how)
    if done.returncode == 1 and not done.stdout and not done.stderr:
        say(f"{program.stem}: Wine has ended it without a word; it runs once more")
        done = wine.run(program, *arguments, **how)
    return done


def run_suites(wine, build):
    passed, failures = 0, []
    for program in sorted((build / "tests").glob("*_tests.exe")):
        begun = time.monotonic()
        excluded = ["*", *(f'~"{name}"' for name in NOT_UNDER_WINE)] if NOT_UNDER_WINE else []
        done = run(wine, program, *excluded, cwd=build, variables={"NODEMETER_SEEDS": "60", "NODEMETER_FLEET": "200"})
        count = passed_in(done.stdout)
        say(f"{program.stem}: {'ended early' if count is None else count} passed, exit {done.returncode}, "
            f"{seconds_since(begun)} s")
        passed += count or 0
        if done.returncode != 0 or not count:
            failures.append(f"{program.stem}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
    for program in sorted((build / "tests").glob("*_fuzz.exe")):
        corpus = TESTS / "fuzz" / "corpus" / program.stem
        done = run(wine, program, *([wine.path(corpus)] if corpus.is_dir() else []), cwd=build)
        passed += done.returncode == 0
        if done.returncode != 0:
            failures.append(f"{program.stem}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return passed, failures


def main():
    build = Path(sys.argv[1]).resolve()
    programs = [build / "nodemeter.exe", *sorted((build / "tests").glob("*.exe"))]
    if len(programs) < 8:
        raise SiteError(f"{build} holds no tests: NODEMETER_TESTS=ON platform/windows/build")
    check_imports(programs)
    with Wine(build / "wine") as wine:
        passed, failures = run_suites(wine, build)
    skipped = list(left_out())
    for reason in sorted({why for _, why in skipped}):
        names = [name for name, why in skipped if why == reason]
        say(f"left out, {len(names)}: {reason}\n" + "\n".join(f"  {name}" for name in names))
    say(f"left out: {ELSEWHERE}")
    say(f"under Wine: {passed} passed, {len(failures)} programs failed, {len(skipped)} left out")
    for failure in failures:
        say(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    main_guard(main)
