"""How fast a journal of N entries is delivered into ClickHouse, beside `curl` that sends the same bytes.

One server on loopback with the project's schema; the uploader's own program (drain_bench) fills a journal, writes the
bodies as it would send them to files, and drains the journal into the server. Then the table is emptied and curl, one
process with one connection, sends the files. Both ends with every entry once.

    drain_main.py BINARIES FOLDER [ENTRIES]        default 1000000
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clickhouse"))

from engine import KEY, EngineError, EngineMissing, Server, library  # noqa: E402  (the path above)
from fleet import fresh, set_up, users  # noqa: E402
from node import insert_url  # noqa: E402

NODE = "bench"


def counted(server, entries):
    """Every entry is there, once, and nothing is missing between."""
    got = server.rows("SELECT count(), uniqExact(seq), max(seq) FROM metering.journal")
    if got != [(entries, entries, entries)]:
        raise EngineError(f"count, numbers and the last of them are {got}, expected {entries}")


def curl_config(server, folder, bodies):
    """One transfer after the other on one connection, with the headers that the uploader sends."""
    parts = []
    for body in bodies:
        token = body.with_suffix(".token").read_text()
        parts.append("\n".join([f'url = "{insert_url(server)}&insert_deduplication_token={token.replace(":", "%3A")}"',
                                f'data-binary = "@{body}"', 'header = "Content-Type: application/vnd.msgpack"', 'header = "Expect:"',
                                'header = "Content-Encoding: zstd"', f'header = "X-ClickHouse-User: node_{NODE}"',
                                f'header = "X-ClickHouse-Key: {KEY}"', 'output = "/dev/null"']))
    path = folder / "curl.config"
    path.write_text("\nnext\n".join(parts) + "\n")
    return path


def send_with_curl(server, folder):
    bodies = sorted((folder / "bodies").glob("*.body"))
    config = curl_config(server, folder, bodies)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["curl", "--silent", "--show-error", "--fail-early", "--config", str(config)], check=True)
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, sum(b.stat().st_size for b in bodies)


def drain(binaries, folder, entries):
    """Both ways once. Returns what was said about them."""
    fresh(folder)
    server = Server(folder / "server", users([NODE]))
    try:
        server.start()
        set_up(server, "one-server.sql")
        (folder / "key").write_text(KEY)
        done = subprocess.run([str(binaries / "tests" / "drain_bench"), "--entries", str(entries), "--directory", str(folder / "journal"),
                               "--bodies", str(folder / "bodies"), "--url", insert_url(server), "--user", f"node_{NODE}",
                               "--key-file", str(folder / "key")], text=True, capture_output=True)
        if done.returncode != 0:
            raise EngineError(f"drain_bench: {done.stdout}{done.stderr}")
        rows = int(done.stdout.split()[0])
        counted(server, rows)
        server.run("TRUNCATE TABLE metering.journal")  # Forgets the tokens, too.
        seconds, cpu, size = send_with_curl(server, folder)
        counted(server, rows)
        return done.stdout + (f"curl, the same {size / (1 << 20):.1f} MiB: {seconds:.2f} s  {rows / seconds:.0f} entries/s  "
                              f"{cpu:.2f} s of processor\n")
    finally:
        server.stop()


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    entries = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    try:
        library()
    except EngineMissing as error:
        print(f"SKIPPED: {error}", flush=True)
        return 77
    try:
        print(drain(binaries, folder, entries), end="", flush=True)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
