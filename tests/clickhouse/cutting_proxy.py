"""A proxy for one agent that does something exactly in the middle of a delivery.

    proxy.plan(moment, act)      # for the next request: `act()` is called at `moment`, then the connection is cut
    proxy.done.wait(…)           # set when it happened

Moments: "before" (nothing was passed on), "half" (half of the body was), "stored" (the server has answered, and the
answer is kept back). Requests without a plan pass.
"""

import socket
import threading

LINE_END = b"\r\n\r\n"


class CuttingProxy:
    def __init__(self, target_port):
        self.target_port = target_port
        self.done = threading.Event()
        self._plan = None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]
        self._stopping = False
        threading.Thread(target=self._listen, daemon=True).start()

    # What Server has and insert_url() wants.
    @property
    def http_port(self):
        return self.port

    def plan(self, moment, act):
        with self._lock:
            self.done.clear()
            self._plan = (moment, act)

    def stop(self):
        self._stopping = True
        self._listener.close()

    def _listen(self):
        while not self._stopping:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        with near:
            try:
                while self._one_request(near):
                    pass
            except OSError:
                pass  # Either side went away: the agent sees a connection that ended.

    def _one_request(self, near):
        head, body = self._read(near)
        if head is None:
            return False
        with self._lock:
            moment, act = self._plan or (None, None)
            self._plan = None
        if moment == "before":
            return self._act(act)
        with socket.create_connection(("127.0.0.1", self.target_port), timeout=120) as far:
            if moment == "half":
                far.sendall(head + LINE_END + body[: len(body) // 2])
                return self._act(act)
            far.sendall(head + LINE_END + body)
            answer_head, answer_body = self._read(far)
            if moment == "stored":
                return self._act(act)
            if answer_head is None:
                return False
            near.sendall(answer_head + LINE_END + answer_body)
        return True

    def _act(self, act):
        act()
        self.done.set()
        return False

    @staticmethod
    def _read(peer):
        data = b""
        while LINE_END not in data:
            piece = peer.recv(65536)
            if not piece:
                return None, None
            data += piece
        head, _, body = data.partition(LINE_END)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if fields.get(b"transfer-encoding") == b"chunked":
            while not body.endswith(b"0" + LINE_END):
                piece = peer.recv(65536)
                if not piece:
                    return None, None
                body += piece
            return head, body
        length = int(fields.get(b"content-length", 0))
        while len(body) < length:
            piece = peer.recv(65536)
            if not piece:
                return None, None
            body += piece
        return head, body
