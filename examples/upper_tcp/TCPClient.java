// Reads a line from the keyboard, sends it, and prints the line that comes back.
//
//     java TCPClient.java
//
// The lecture's client, with "localhost" where the slide says "hostname".

import java.io.*;
import java.net.*;

class TCPClient {
    public static void main(String[] args) throws Exception {
        BufferedReader keyboard = new BufferedReader(new InputStreamReader(System.in));

        Socket socket = new Socket("localhost", 6789); // it is connected when this returns

        DataOutputStream toServer = new DataOutputStream(socket.getOutputStream());
        BufferedReader fromServer =
            new BufferedReader(new InputStreamReader(socket.getInputStream()));

        String line = keyboard.readLine();
        toServer.writeBytes(line + '\n'); // byte by byte: each may arrive on its own

        String answer = fromServer.readLine();
        System.out.println("FROM SERVER: " + answer);

        socket.close();
    }
}
