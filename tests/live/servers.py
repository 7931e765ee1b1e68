"""An HTTP server and a WebSocket server on the loopback interface; prints their ports as JSON."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from websockets.sync.server import serve


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        size = int(self.path.partition("?size=")[2] or 0)
        content = b"x" * size
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def echo(socket):
    for message in socket:
        socket.send(message)


http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=http.serve_forever, daemon=True).start()
with serve(echo, "127.0.0.1", 0) as websocket:
    print(json.dumps({"http": http.server_port, "websocket": websocket.socket.getsockname()[1]}), flush=True)
    websocket.serve_forever()
