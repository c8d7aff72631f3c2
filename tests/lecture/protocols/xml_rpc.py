"""XML-RPC over ipcx, server and client: a call that looks like a local one."""

import threading
import xmlrpc.client
import xmlrpc.server

from scripted import is_ours


class Transport(xmlrpc.client.Transport):
    def send_content(self, connection, request_body):
        super().send_content(connection, request_body)
        is_ours(connection.sock)


with xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
    is_ours(server.socket)
    server.register_function(lambda a, b: a + b, "add")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    with xmlrpc.client.ServerProxy(address, Transport()) as there:
        print("add(5, 3) =", there.add(5, 3))
        try:
            there.subtract(5, 3)
        except xmlrpc.client.Fault as fault:
            print(fault.faultString)
    server.shutdown()
    thread.join()
