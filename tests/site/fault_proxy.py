"""A TCP proxy that breaks connections in the ways that networks and proxies do, drawn from a seed.

    proxy = FaultProxy(target_port, seed, share=0.5)     # listens on 127.0.0.1:proxy.port
    proxy.share = 0                                      # from now on everything passes
    proxy.retarget(port); proxy.stop(); proxy.counts     # what was done, by name

`lie = True` makes it acknowledge every batch itself and pass nothing on: whoever judges has to notice.

One connection suffers at most one fault. Faults that speak HTTP or repeat a request want a plain connection: with
`http=False` (TLS, anything else) they are left out.
"""

import random
import select
import socket
import struct
import threading
import time
from collections import Counter

HTTP_ANSWERS = [
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n<html>Log in</html>",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
]
ANY = ["refuse", "cut_request", "cut_answer", "lose_answer", "stall", "slow"]
HTTP = ["answer_before", "answer_instead", "repeat"]


def reset(peer):
    """Ends with a reset and not with an end of data."""
    try:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    peer.close()


class FaultProxy:
    def __init__(self, target_port, seed, share=0.5, http=True, stall_s=0.4):
        self.target_port = target_port
        self.share = share
        self.stall_s = stall_s
        self.lie = False
        self.faults = ANY + (HTTP if http else [])
        self.counts = Counter()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def retarget(self, port):
        self.target_port = port

    def stop(self):
        self._stopping = True
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _listen(self):
        while not self._stopping:
            try:
                readable, _, _ = select.select([self._listener], [], [], 0.05)
                if not readable:
                    continue
                near, _ = self._listener.accept()
            except (OSError, ValueError):
                return
            with self._lock:
                fault = self._dice.choice(self.faults) if self._dice.random() < self.share else "none"
                # Small numbers are hit often, large ones sometimes: requests have some hundred bytes to some MB.
                at = int(2 ** self._dice.uniform(0, 16))
                answer = self._dice.choice(HTTP_ANSWERS)
            self.counts[fault] += 1
            thread = threading.Thread(target=self._serve, args=(near, fault, at, answer), daemon=True)
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()

    def _serve(self, near, fault, at, answer):
        far = None
        try:
            if self.lie:
                self._acknowledge_all(near)
                return
            if fault == "refuse":
                return
            if fault == "answer_before":
                near.recv(65536)
                near.sendall(answer)
                return
            far = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            self._pump(near, far, fault, at, answer)
        except OSError:
            pass
        finally:
            for peer in (near, far):
                if peer:
                    reset(peer)

    def _pump(self, near, far, fault, at, answer):
        up = down = 0
        sent = bytearray()
        while not self._stopping:
            readable, _, _ = select.select([near, far], [], [], 0.05)
            if near in readable:
                piece = near.recv(65536)
                if fault == "cut_request" and up + len(piece) > at:
                    far.sendall(piece[: at - up])
                    return
                if fault == "stall" and up + len(piece) > at:
                    time.sleep(self.stall_s)
                    return
                if not piece:
                    return
                if fault == "slow":
                    for i in range(0, len(piece), max(1, len(piece) // 8)):
                        far.sendall(piece[i : i + max(1, len(piece) // 8)])
                        time.sleep(0.01)
                else:
                    far.sendall(piece)
                up += len(piece)
                if fault == "repeat" and len(sent) < 1 << 20:
                    sent += piece
            if far in readable:
                piece = far.recv(65536)
                if not piece:
                    return
                if fault == "lose_answer":
                    return
                if fault == "answer_instead":
                    near.sendall(answer)
                    return
                if fault == "cut_answer" and down + len(piece) > at % 300:
                    near.sendall(piece[: max(0, at % 300 - down)])
                    return
                near.sendall(piece)
                down += len(piece)
                if fault == "repeat":
                    self._repeat(bytes(sent))
                    fault = "none"

    def _acknowledge_all(self, near):
        request = b""
        while not self._stopping:
            head, found, body = request.partition(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            if found and len(body) >= int(fields[b"Content-Length"]):
                last = int(fields[b"Nodemeter-Sequence"].split(b"-")[1])
                text = b'{"acknowledged":%d,"resend_from":null}' % last
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                request = b""
            piece = near.recv(65536)
            if not piece:
                return
            request += piece

    def _repeat(self, request):
        """The same request once more, later, by a connection of its own: a duplicate that overtakes what came after."""

        def send():
            time.sleep(0.2)
            try:
                with socket.create_connection(("127.0.0.1", self.target_port), timeout=2) as again:
                    again.sendall(request)
                    again.settimeout(1)
                    again.recv(4096)
            except OSError:
                pass

        threading.Thread(target=send, daemon=True).start()
