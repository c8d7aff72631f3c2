// Reads a line from the keyboard, sends it as a datagram, and prints the one that comes back.
//
//     java UDPClient.java
//
// The lecture's client, with "localhost" where the slide says "hostname", and with its one mistake
// cured: see UDPClientPadded.java. Without a server it waits for ever: UDP tells nobody.

import java.io.*;
import java.net.*;

class UDPClient {
    public static void main(String[] args) throws Exception {
        BufferedReader keyboard = new BufferedReader(new InputStreamReader(System.in));

        DatagramSocket socket = new DatagramSocket(); // on any port that is free
        InetAddress server = InetAddress.getByName("localhost");
        byte[] received = new byte[1024];

        String line = keyboard.readLine();
        byte[] sent = line.getBytes();

        DatagramPacket request = new DatagramPacket(sent, sent.length, server, 9876);
        socket.send(request);

        DatagramPacket reply = new DatagramPacket(received, received.length);
        socket.receive(reply);

        // getData() is the whole array; getLength() says how much of it this datagram filled.
        String answer = new String(reply.getData(), 0, reply.getLength());

        System.out.println("FROM SERVER:" + answer);
        socket.close();
    }
}
