// Reads a line from the keyboard, sends it as a datagram, and prints the one that comes back.
//
//     java UDPClientPadded.java
//
// The lecture's client, with "localhost" where the slide says "hostname": getData() gives the whole
// array, so after the answer comes NUL up to 1024. Many terminals do not show NUL, so the length is
// printed, too. UDPClient.java has the cure.

import java.io.*;
import java.net.*;

class UDPClientPadded {
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

        String answer = new String(reply.getData());

        System.out.println("FROM SERVER:" + answer);
        System.out.println("These are " + answer.length() + " characters.");
        socket.close();
    }
}
