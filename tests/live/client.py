"""Talks to servers.py: requests on one connection, then a WebSocket conversation."""

import http.client
import sys

from websockets.sync.client import connect

http_port, websocket_port, requests, messages, size = map(int, sys.argv[1:6])
connection = http.client.HTTPConnection("127.0.0.1", http_port)
for number in range(requests):
    connection.request("GET", f"{sys.argv[6]}{number}?size={size}", headers={"X-Number": str(number)})
    connection.getresponse().read()
connection.close()
if messages:
    with connect(f"ws://127.0.0.1:{websocket_port}/chat") as socket:
        for number in range(messages):
            socket.send(f"message {number}")
            socket.recv()
