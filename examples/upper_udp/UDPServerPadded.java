// Sends each datagram back in upper case, to whoever sent it, for ever.
//
//     java UDPServerPadded.java
//
// The lecture's server as the slide has it: getData() gives the whole array, so after the line comes
// what an earlier, longer one has left there, then NUL up to 1024. UDPServer.java has the cure.

import java.io.*;
import java.net.*;

class UDPServerPadded {
    public static void main(String[] args) throws Exception {
        DatagramSocket socket = new DatagramSocket(9876);
        byte[] received = new byte[1024]; // what is longer is cut off

        while (true) {
            DatagramPacket request = new DatagramPacket(received, received.length);
            socket.receive(request);

            String line = new String(request.getData());

            InetAddress address = request.getAddress(); // each datagram brings its sender's address
            int port = request.getPort();

            byte[] answer = line.toUpperCase().getBytes();

            DatagramPacket reply = new DatagramPacket(answer, answer.length, address, port);
            socket.send(reply);
        }
    }
}
