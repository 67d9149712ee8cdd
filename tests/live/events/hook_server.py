"""A webhook as a process of its own, so that it can be killed: ``python hook_server.py PORT FILE``.

It appends the key of each event that it took to FILE, and then confirms. It says "ready" when it listens.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert event["key"] == self.headers["Idempotency-Key"]
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            file.write(event["key"] + "\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", server.server_port, flush=True)
    server.serve_forever()
