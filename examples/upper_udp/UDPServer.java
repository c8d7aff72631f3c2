// Sends each datagram back in upper case, to whoever sent it, for ever.
//
//     java UDPServer.java
//
// The lecture's server, with its one mistake cured: see UDPServerPadded.java.

import java.io.*;
import java.net.*;

class UDPServer {
    public static void main(String[] args) throws Exception {
        DatagramSocket socket = new DatagramSocket(9876);
        byte[] received = new byte[1024]; // what is longer is cut off

        while (true) {
            DatagramPacket request = new DatagramPacket(received, received.length);
            socket.receive(request);

            // getData() is the whole array; getLength() says how much of it this datagram filled.
            String line = new String(request.getData(), 0, request.getLength());

            InetAddress address = request.getAddress(); // each datagram brings its sender's address
            int port = request.getPort();

            byte[] answer = line.toUpperCase().getBytes();

            DatagramPacket reply = new DatagramPacket(answer, answer.length, address, port);
            socket.send(reply);
        }
    }
}
