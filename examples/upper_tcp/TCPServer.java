// Sends each client's line back in upper case: one client after the other, for ever.
//
//     java TCPServer.java
//
// The lecture's server. Added: a client that goes too early does not end the server, and each
// client's socket is closed.

import java.io.*;
import java.net.*;

class TCPServer {
    public static void main(String[] args) throws Exception {
        ServerSocket listener = new ServerSocket(6789);

        while (true) {
            Socket connection = listener.accept(); // a second socket, for this one client
            try {
                BufferedReader fromClient =
                    new BufferedReader(new InputStreamReader(connection.getInputStream()));
                DataOutputStream toClient = new DataOutputStream(connection.getOutputStream());

                String line = fromClient.readLine(); // null: the client has gone without a word
                if (line != null) {
                    String answer = line.toUpperCase() + '\n';
                    toClient.writeBytes(answer); // byte by byte: each may arrive on its own
                }
            } catch (IOException error) { // this client has gone; the next one is served
                System.out.println("A client is gone: " + error.getMessage());
            }
            connection.close();
        }
    }
}
