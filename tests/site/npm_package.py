"""Files out of a package of the npm registry: pinned by version and checksum, kept in the cache directory of the user.

Nothing of a package is installed or run on the way.
"""

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


class PackageError(Exception):
    """What went wrong, as one sentence for the person who started this."""


class PackageMissing(PackageError):
    """The registry cannot be reached and the cache is empty: whoever needs the package is skipped, visibly."""


# What npm calls a registry that it cannot reach. Anything else that goes wrong is a failure, not a reason to skip.
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH",
               "ERR_SOCKET_TIMEOUT", "ENETWORK")


def files_of(package, sha512, purpose, names):
    """The folder that holds the named files, from the cache or the registry. `purpose` names it in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nodemeter" / purpose
    folder = cache / hashlib.sha256((package + sha512).encode()).hexdigest()[:16]
    if all((folder / name).exists() for name in names):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two test runs at once fetch once.
        if not all((folder / name).exists() for name in names):
            fetch(package, sha512, folder, names)
    return folder


def fetch(package, sha512, folder, names):
    if shutil.which("npm") is None:
        raise PackageError("npm is not installed: platform/install test")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        packed = subprocess.run(["npm", "pack", "--loglevel", "error", "--fetch-retries", "1", package], cwd=scratch,
                                text=True, capture_output=True)
        if packed.returncode != 0:
            said = packed.stderr.strip()[-500:]
            codes = [code for code in UNREACHABLE if code in said]
            if codes:
                raise PackageMissing(f"npm pack {package}: the registry cannot be reached ({codes[0]})")
            raise PackageError(f"npm pack {package} failed: {said}")
        [archive_path] = Path(scratch).glob("*.tgz")
        digest = hashlib.sha512(archive_path.read_bytes()).digest()
        if base64.b64encode(digest).decode() != sha512:
            raise PackageError(f"{package} is not the archive that was pinned: its SHA-512 differs")
        with tarfile.open(archive_path) as archive:
            for name in names:
                with open(Path(scratch) / name, "wb") as out:
                    shutil.copyfileobj(archive.extractfile("package/" + name), out)
                os.rename(Path(scratch) / name, folder / name)  # Last: a broken fetch leaves nothing that looks whole.
