"""The stdlib's HTTP server and HTTP client, both over ipcx."""

import http.client
import http.server
import threading

from scripted import is_ours


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        is_ours(self.connection)
        body = self.rfile.read(int(self.headers["Content-Length"])).upper()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    is_ours(server.socket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_port)
    for text in ("one page", "another one over the same connection"):
        client.request("POST", "/", text)
        is_ours(client.sock)
        answer = client.getresponse()
        print(answer.status, answer.read().decode())
    client.close()
    server.shutdown()
    thread.join()
