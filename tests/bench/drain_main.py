"""How fast a journal of N entries is delivered into ClickHouse, beside `curl` that sends the same bytes.

One server on loopback with the project's schema; the uploader's own program (drain_bench) fills a journal, writes the
bodies as it would send them to files, and drains the journal into the server. Then the table is emptied and curl, one
process with one connection, sends the files. Both end with every entry once. What curl does not do: read the journal,
digest, compress, and commit range and acknowledgement of each batch.

    drain_main.py BINARIES FOLDER [ENTRIES] [ROUNDS]        default 1000000, 1
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


def send_with_uploader(server, binaries, folder, entries):
    return run_bench(binaries, folder, entries, "--url", insert_url(server), "--user", f"node_{NODE}", "--key-file", str(folder / "key"))


def run_bench(binaries, folder, entries, *arguments):
    done = subprocess.run([str(binaries / "tests" / "drain_bench"), "--entries", str(entries), "--directory", str(folder / "journal"),
                           *arguments], text=True, capture_output=True)
    if done.returncode != 0:
        raise EngineError(f"drain_bench: {done.stdout}{done.stderr}")
    return done.stdout


def drain(binaries, folder, entries, rounds=1):
    """Both ways in turn, each into an empty table. Returns what was said about them."""
    fresh(folder)
    server = Server(folder / "server", users([NODE]))
    try:
        said = run_bench(binaries, folder, entries, "--bodies", str(folder / "bodies"))
        rows = int(said.split()[0])
        server.start()
        set_up(server, "one-server.sql")
        (folder / "key").write_text(KEY)
        for _ in range(rounds):
            said += send_with_uploader(server, binaries, folder, entries)
            counted(server, rows)
            server.run("TRUNCATE TABLE metering.journal")
            seconds, cpu, size = send_with_curl(server, folder)
            counted(server, rows)
            said += (f"{'curl':12} {seconds:8.2f} s  {rows / seconds:8.0f} entries/s  {cpu:6.2f} s of processor, "
                     f"{size / (1 << 20):.1f} MiB\n")
            server.run("TRUNCATE TABLE metering.journal")
        return said
    finally:
        server.stop()


def main():
    binaries, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    entries = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    try:
        library()
    except EngineMissing as error:
        print(f"SKIPPED: {error}", flush=True)
        return 77
    try:
        print(drain(binaries, folder, entries, rounds), end="", flush=True)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
