"""A real ClickHouse on this machine: fetched once, started on loopback, ended by process id.

The engine is the shared library of the npm package below: the server's own HTTP and native interfaces, without its
keeper and its writable list of users. It is pinned by version and checksum and kept in the cache directory of the user.
"""

import ctypes
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "site"))

from npm_package import PackageError, PackageMissing, files_of  # noqa: E402

SCHEMA = ROOT / "uploader" / "clickhouse"

PACKAGE = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1"
VERSION = "26.7.2.1"
SHA512 = "XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="
LIBRARY = "libchdb.so"

STARTS_WITHIN_S = 120
ANSWERS_WITHIN_S = 300
MEMORY_MAX = 2_000_000_000


class EngineError(Exception):
    """What went wrong, as one sentence for the person who started this."""


class EngineMissing(EngineError):
    """The registry cannot be reached and the cache is empty: whoever needs the engine is skipped, visibly."""


def library():
    """The engine's library, from the cache or the registry."""
    try:
        return files_of(PACKAGE, SHA512, "clickhouse", [LIBRARY]) / LIBRARY
    except PackageMissing as missing:
        raise EngineMissing(str(missing)) from None
    except PackageError as error:
        raise EngineError(str(error)) from None


def serve(path, arguments):
    """The child: becomes the server, until its last query ends. Does not return before."""
    engine = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    engine.chdb_query_cmdline.restype = ctypes.c_void_p
    engine.chdb_result_error.restype = ctypes.c_char_p
    engine.chdb_result_error.argtypes = [ctypes.c_void_p]
    words = [b"clickhouse-local"] + [word.encode() for word in arguments]
    result = engine.chdb_query_cmdline(len(words), (ctypes.c_char_p * len(words))(*words))
    error = engine.chdb_result_error(result)
    sys.stdout.flush()
    # Without the interpreter's clean-up: the engine's threads may still be running.
    if error:
        os.write(2, error + b"\n")
    os._exit(1 if error else 0)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def code(self):
        """ClickHouse's exception code; 0: none."""
        return int(self.headers.get("x-clickhouse-exception-code", 0))


class Server:
    """One server. Its folder keeps data and log; it may be killed and started again on the same ports."""

    def __init__(self, folder, users, cluster="", ports=None, more_users=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.http_port, self.tcp_port = ports or free_ports(2)
        self.child = None
        self.stopper = None
        (self.folder / "users.d").mkdir(exist_ok=True)
        (self.folder / "users.xml").write_text(BASE_USERS)
        (self.folder / "users.d" / "nodemeter.xml").write_text(users)
        if more_users:
            (self.folder / "users.d" / "more.xml").write_text(more_users)
        (self.folder / "config.xml").write_text(f"""<clickhouse>
  <users_config>users.xml</users_config>
  <listen_host>127.0.0.1</listen_host>
  <max_server_memory_usage>{MEMORY_MAX}</max_server_memory_usage>
  {cluster}
</clickhouse>
""")

    def start(self):
        fifo = self.folder / "stop"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        # The last query reads from a pipe that this process holds open: the server ends when we close it, or end.
        forever = (f"SYSTEM START LISTEN QUERIES ALL; SELECT * FROM file('{fifo}', 'LineAsString', 's String') "
                   "FORMAT Null SETTINGS storage_file_read_method='read'")
        command = [sys.executable, __file__, "serve", str(library()), "--config-file", str(self.folder / "config.xml"),
                   "--log-level", "warning", "--path", str(self.folder / "data"), "--http_port", str(self.http_port),
                   "--tcp_port", str(self.tcp_port), "--query", forever]
        end = time.monotonic() + STARTS_WITHIN_S
        self.launch(command)
        while not self.answers():
            if time.monotonic() > end:
                raise EngineError(f"the server did not start\n{self.tail()}")
            time.sleep(0.05)
            # Some client's connection may have its port just now, which ends it with 0: only its answer shows that it
            # is ours and alive.
            if self.child.poll() is not None:
                time.sleep(1)
                self.launch(command)
        self.stopper = os.open(fifo, os.O_WRONLY)

    def launch(self, command):
        with open(self.folder / "server.log", "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)

    def answers(self):
        try:
            return self.request("GET", "/ping", timeout=5).status == 200
        except OSError:
            return False

    @property
    def pid(self):
        return self.child.pid

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.close_stopper()

    def stop(self):
        if self.child is None or self.child.poll() is not None:
            return
        self.close_stopper()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def close_stopper(self):
        if self.stopper is not None:
            os.close(self.stopper)
            self.stopper = None

    def tail(self):
        return "".join((self.folder / "server.log").read_text(errors="replace").splitlines(keepends=True)[-15:])

    # -- requests

    def request(self, method, path, body=None, headers=None, timeout=ANSWERS_WITHIN_S):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def ask(self, sql, user="default", body=None, **settings):
        """One statement, whatever it answers."""
        headers = {"X-ClickHouse-User": user}
        if user != "default":
            headers["X-ClickHouse-Key"] = KEY
        if body is None:
            return self.request("POST", "/?" + urllib.parse.urlencode(settings), sql.encode(), headers)
        return self.request("POST", "/?" + urllib.parse.urlencode({"query": sql, **settings}), body, headers)

    def run(self, sql, user="default", **settings):
        answer = self.ask(sql, user, **settings)
        if answer.status != 200 or answer.code:
            raise EngineError(f"HTTP {answer.status}: {answer.body.decode(errors='replace')[:600]}\nin: {sql[:600]}")
        return answer.body.decode()

    def rows(self, sql, user="default", **settings):
        settings.setdefault("output_format_json_quote_64bit_integers", 0)
        text = self.run(sql + " FORMAT JSONCompactEachRow", user, **settings)
        return [tuple(json.loads(line)) for line in text.splitlines()]

    def value(self, sql, user="default", **settings):
        [[value]] = self.rows(sql, user, **settings)
        return value

    def run_file(self, name, replace=()):
        """Every statement of a file of the schema, with what this engine lacks replaced."""
        text = (SCHEMA / name).read_text()
        for old, new in replace:
            if old not in text:
                raise EngineError(f"{name} no longer has: {old}")
            text = text.replace(old, new)
        for statement in statements(text):
            self.run(statement)


def statements(text):
    """SQL without comments, cut at the semicolons that end a line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [one.strip() for one in "\n".join(lines).split(";\n") if one.strip().rstrip(";")]


# Users that are not in the project's own file: the one that sets things up, and what a plain server has.
BASE_USERS = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
    <access_management>0</access_management></default></users>
</clickhouse>
"""
KEY = "trial-key"


def key_digest():
    return hashlib.sha256(KEY.encode()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    print(library())
