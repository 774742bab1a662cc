#!/usr/bin/env python3
"""Builds the libraries that nodemeter needs on Windows, once, and prints the folder that they are in.

Their sources are source packages of this distribution, fetched by apt with a list of its own (the machine's lists stay as
they are, and no root is needed) and checked against dependencies.pins. The result is kept in the cache directory of the
user, under a name made of everything that it depends on here.

Ends with 77 if the archive cannot be reached and the libraries are not in the cache.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "dependencies.pins"
TOOLCHAIN = HERE / "mingw64.cmake"
RECIPE = HERE / "dependencies" / "CMakeLists.txt"
COMPILER = "x86_64-w64-mingw32-gcc-posix"

# Libraries that are headers only, from packages of platform/install.
HEADERS = ("boost", "msgpack", "msgpack.hpp", "catch2", "CLI", "toml++", "nlohmann", "fmt", "xxhash.h")
SYSTEM_HEADERS = Path("/usr/include")


class Failure(Exception):
    """What went wrong, as one sentence for the person who started this."""


class Unreachable(Failure):
    """The archive does not answer: nothing is wrong here."""


def pins():
    for line in PINS.read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split()


def run(command, cwd=None, what=None, failure=Failure):
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise failure(f"{what or command[0]} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def codename():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip('"')
    raise Failure("/etc/os-release names no VERSION_CODENAME: this needs a Debian system")


def source_entries():
    """The machine's own entries for this release, as entries for sources, in apt's longer form."""
    release = codename()
    suites = {release, release + "-updates", release + "-security"}
    etc = Path("/etc/apt")
    entries = []
    for file in sorted((etc / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", file.read_text()):
            lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
            fields = dict(line.split(":", 1) for line in lines if re.match(r"[A-Za-z-]+:", line))
            ours = suites.intersection(fields.get("Suites", "").split())
            if ours and "deb" in fields.get("Types", "").split():
                fields.update({"Types": " deb-src", "Suites": " " + " ".join(sorted(ours)), "Components": " main"})
                kept = ("Types", "URIs", "Suites", "Components", "Signed-By")
                entries.append("".join(f"{name}:{fields[name]}\n" for name in kept if name in fields))
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in file.read_text().splitlines() if file.exists() else ():
            match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s", line)
            if match and match[3] in suites:
                signed = re.search(r"signed-by=(\S+)", match[1] or "")
                entries.append(f"Types: deb-src\nURIs: {match[2]}\nSuites: {match[3]}\nComponents: main\n"
                               + (f"Signed-By: {signed[1]}\n" if signed else ""))
    if not entries:
        raise Failure(f"apt knows no archive of {release} on this machine: its sources cannot be fetched")
    return "\n".join(entries)


class Archive:
    """apt with a list of its own."""

    def __init__(self, folder):
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "entries.sources").write_text(source_entries())
        self.options = ["-o", f"Dir::Etc::sourcelist={folder}/entries.sources", "-o", "Dir::Etc::sourceparts=/dev/null",
                        "-o", f"Dir::State::lists={folder}/lists", "-o", "Dir::Cache::pkgcache=",
                        "-o", "Dir::Cache::srcpkgcache=", "-o", "APT::Sandbox::User=root"]
        run(["apt-get", *self.options, "-q", "update"], what="fetching the archive's list of sources",
            failure=Unreachable)

    def versions(self, package):
        """Newest first."""
        text = run(["apt-cache", *self.options, "showsrc", "--only-source", package], what=f"looking up {package}")
        found = re.findall(r"^Version: (\S+)$", text, re.MULTILINE)
        return list(dict.fromkeys(reversed(found)))

    def fetch(self, package, version, folder):
        folder.mkdir(parents=True)
        run(["apt-get", *self.options, "-q", "source", "--download-only", f"{package}={version}"], cwd=folder,
            what=f"fetching {package} {version}", failure=Unreachable)


def without_revision(version):
    return version.rpartition("-")[0].split(":")[-1]


def fetch(archive, package, wanted, digest, scratch):
    """Unpacks the package to scratch/sources/PACKAGE and gives the version that it is."""
    offered = archive.versions(package)
    suitable = [version for version in offered if without_revision(version) == wanted]
    if not suitable:
        raise Failure(f"{package}: {PINS.name} asks for {wanted}, the archive has {', '.join(offered) or 'none'}. "
                      f"Look at what has changed, then raise the pin")
    failures = []
    for version in suitable:  # A mirror may lag behind its own list.
        folder = scratch / "fetched" / f"{package}_{version}"
        try:
            archive.fetch(package, version, folder)
        except Unreachable as failure:
            failures.append(str(failure))
            continue
        [original] = [file for file in folder.iterdir() if ".orig.tar" in file.name and not file.name.endswith(".asc")]
        found = hashlib.sha256(original.read_bytes()).hexdigest()
        if found != digest:
            raise Failure(f"{package} {version}: {original.name} has SHA-256 {found}, pinned is {digest}")
        [description] = folder.glob("*.dsc")
        run(["dpkg-source", "--no-check", "-x", str(description), str(scratch / "sources" / package)],
            what=f"unpacking {package}")
        return version
    raise Unreachable("\n".join(failures))


def build(prefix, scratch):
    versions = []
    archive = Archive(scratch / "apt")
    (scratch / "sources").mkdir()
    for package, wanted, digest in pins():
        versions.append(f"{package} {fetch(archive, package, wanted, digest, scratch)}")
    print("building for Windows: " + ", ".join(versions), file=sys.stderr)
    tree = scratch / "build"
    run(["cmake", "-S", str(RECIPE.parent), "-B", str(tree), "-G", "Ninja", f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
         "-DCMAKE_BUILD_TYPE=Release", f"-DSOURCES={scratch / 'sources'}", f"-DCMAKE_INSTALL_PREFIX={prefix}"])
    run(["cmake", "--build", str(tree)], what="the libraries' build")
    run(["cmake", "--install", str(tree)])
    for name in HEADERS:
        if not (SYSTEM_HEADERS / name).exists():
            raise Failure(f"the headers {name} are missing: platform/install windows")
        (prefix / "include" / name).symlink_to(SYSTEM_HEADERS / name)
    (prefix / "versions").write_text("\n".join(versions) + "\n")


def prefix_path():
    compiler = run([COMPILER, "--version"]).splitlines()[0]
    key = hashlib.sha256(compiler.encode())
    for file in (PINS, TOOLCHAIN, RECIPE, Path(__file__)):
        key.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nodemeter" / "windows"
    return cache / key.hexdigest()[:16]


def main():
    if shutil.which(COMPILER) is None:
        raise Failure(f"{COMPILER} is missing: platform/install windows")
    prefix = prefix_path()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with open(prefix.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two builds at once build them once.
        if not (prefix / "versions").exists():
            shutil.rmtree(prefix, ignore_errors=True)  # What a broken attempt left.
            with tempfile.TemporaryDirectory(prefix="nodemeter-windows-") as scratch:
                build(prefix, Path(scratch))
    print(prefix)


if __name__ == "__main__":
    try:
        main()
    except Unreachable as failure:
        print(f"platform/windows/dependencies.py: {failure}", file=sys.stderr)
        sys.exit(77)
    except Failure as failure:
        sys.exit(f"platform/windows/dependencies.py: {failure}")
