// SPDX-License-Identifier: Apache-2.0
// The protocol of docs/protocol.md written a second time, from the document alone: encodes and
// decodes every test vector. `java FrameVectors.java docs/vectors/frames.txt
// docs/vectors/proofs.txt`

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.zip.CRC32C;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class FrameVectors {
    static final int MAX_MESSAGE = 1000;
    static final List<String> TYPES = List.of("", "DATA", "ACK", "REQUEST", "REPLY", "ERROR",
            "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PING", "PONG", "HELLO", "BYE",
            "HANDOVER", "PROOF");
    static final int TEXT = 0x0001, CORRELATION = 0x0002, CRC = 0x8004, SYNC = 0x0008;

    /** What a stream is broken by, and where. */
    static class Broken extends Exception {
        final String status;
        final long offset;

        Broken(String status, long offset) {
            super(status + " at byte " + offset);
            this.status = status;
            this.offset = offset;
        }
    }

    record Frame(int type, int flags, long correlation, byte[] extension, byte[] payload) {
        boolean same(Frame other) {
            return type == other.type && flags == other.flags && correlation == other.correlation
                    && Arrays.equals(extension, other.extension)
                    && Arrays.equals(payload, other.payload);
        }
    }

    /** Takes one message after the other out of a stream that is there as a whole. */
    static class Reader {
        final byte[] stream;
        int at = 0;

        Reader(byte[] stream) {
            this.stream = stream;
        }

        boolean atEnd() {
            return at == stream.length;
        }

        int left() {
            return stream.length - at;
        }

        byte[] take(int from, int size) throws Broken {
            if (from + size > stream.length) {
                throw new Broken("MORE", 0);
            }
            return Arrays.copyOfRange(stream, from, from + size);
        }

        void check(boolean good, String status, int offset) throws Broken {
            if (!good) {
                throw new Broken(status, offset);
            }
        }

        int limited(long length, int offset) throws Broken {
            check(Long.compareUnsigned(length, MAX_MESSAGE) <= 0, "TOO_LARGE", offset);
            return (int) length;
        }

        Frame ours() throws Broken {
            int start = at;
            for (int i = 0; i < Math.min(left(), 2); i++) {
                check(stream[start + i] == "IX".charAt(i), "PROTOCOL", start + i);
            }
            check(left() < 3 || stream[start + 2] == 1, "VERSION", start + 2);
            check(left() < 4 || (stream[start + 3] >= 1 && stream[start + 3] <= 14), "PROTOCOL",
                    start + 3);
            ByteBuffer head = ByteBuffer.wrap(stream, start, left());
            int flags = left() < 6 ? 0 : Short.toUnsignedInt(head.getShort(start + 4));
            int checksum = flags & CRC;
            check((flags & ~(TEXT | CORRELATION | CRC | SYNC)) == 0
                    && (checksum == 0 || checksum == CRC), "PROTOCOL", start + 4);
            take(start, 12);
            int extensionSize = Short.toUnsignedInt(head.getShort(start + 6));
            int size = limited(Integer.toUnsignedLong(head.getInt(start + 8)), start + 8);
            int next = start + 12 + ((flags & CORRELATION) != 0 ? 8 : 0);
            byte[] extension = take(next, extensionSize);
            byte[] payload = take(next + extensionSize, size);
            int end = next + extensionSize + size;
            if (checksum != 0) {
                int said = ByteBuffer.wrap(take(end, 4)).getInt();
                CRC32C crc = new CRC32C();
                crc.update(stream, start, end - start);
                check((int) crc.getValue() == said, "CORRUPT", end);
            }
            if ((flags & TEXT) != 0) {
                text(payload, next + extensionSize);
            }
            long correlation = (flags & CORRELATION) != 0 ? head.getLong(start + 12) : 0;
            at = end + (checksum != 0 ? 4 : 0);
            return new Frame(stream[start + 3], flags, correlation, extension, payload);
        }

        void text(byte[] payload, int offset) throws Broken {
            var decoder = StandardCharsets.UTF_8.newDecoder();
            var in = ByteBuffer.wrap(payload);
            try {
                decoder.decode(in);
            } catch (CharacterCodingException e) {
                throw new Broken("PROTOCOL", offset + in.position());
            }
        }

        Frame message(int from, int size, int behind) throws Broken {
            byte[] payload = take(from, size);
            take(from + size, behind);
            at = from + size + behind;
            return new Frame(1, 0, 0, new byte[0], payload);
        }

        Frame foreign(String[] framing) throws Broken {
            int start = at;
            switch (framing[0]) {
                case "fixed":
                    return message(at, Integer.parseInt(framing[1]), 0);
                case "prefix": {
                    int width = Integer.parseInt(framing[1]);
                    long length = 0;
                    byte[] bytes = take(at, width);
                    for (int i = 0; i < width; i++) {
                        int next = framing[2].equals("big") ? i : width - 1 - i;
                        length = length << 8 | Byte.toUnsignedLong(bytes[next]);
                    }
                    return message(at + width, limited(length, at), 0);
                }
                case "varint": {
                    long length = 0;
                    for (int i = 0;; i++) {
                        int next = Byte.toUnsignedInt(take(at + i, 1)[0]);
                        check(i < 9 || next < 2, "PROTOCOL", at + i);
                        length |= (long) (next & 0x7f) << 7 * i;
                        if (next < 0x80) {
                            return message(at + i + 1, limited(length, at), 0);
                        }
                    }
                }
                case "netstring": {
                    long length = 0;
                    int i = at;
                    for (; take(i, 1)[0] != ':'; i++) {
                        int digit = stream[i] - '0';
                        check(digit >= 0 && digit <= 9 && (i == at || stream[at] != '0'),
                                "PROTOCOL", i);
                        length = limited(10 * length + digit, at);
                    }
                    check(i > at, "PROTOCOL", at);
                    Frame frame = message(i + 1, (int) length, 1);
                    check(stream[at - 1] == ',', "PROTOCOL", at - 1);
                    return frame;
                }
                default: {
                    byte[] delimiter = HexFormat.of().parseHex(framing[1]);
                    for (int i = start;; i++) {
                        if (i + delimiter.length <= stream.length && Arrays.equals(stream, i,
                                i + delimiter.length, delimiter, 0, delimiter.length)) {
                            return message(start, i - start, delimiter.length);
                        }
                        check(i - start < MAX_MESSAGE, "TOO_LARGE", start + MAX_MESSAGE);
                        take(i, delimiter.length);
                    }
                }
            }
        }

        Frame next(String[] framing) throws Broken {
            return framing[0].equals("ipcx") ? ours() : foreign(framing);
        }
    }

    static byte[] encode(String[] framing, Frame frame) throws IOException {
        var out = new ByteArrayOutputStream();
        int size = frame.payload.length;
        switch (framing[0]) {
            case "ipcx": {
                boolean correlated = (frame.flags & CORRELATION) != 0;
                var head = ByteBuffer.allocate(correlated ? 20 : 12);
                head.put((byte) 'I').put((byte) 'X').put((byte) 1).put((byte) frame.type);
                head.putShort((short) frame.flags).putShort((short) frame.extension.length);
                head.putInt(size);
                if (correlated) {
                    head.putLong(frame.correlation);
                }
                out.write(head.array());
                out.write(frame.extension);
                break;
            }
            case "prefix": {
                var order = framing[2].equals("big") ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
                var eight = ByteBuffer.allocate(8).order(order).putLong(size).array();
                int width = Integer.parseInt(framing[1]);
                int from = order == ByteOrder.BIG_ENDIAN ? 8 - width : 0;
                out.write(eight, from, width);
                break;
            }
            case "varint":
                for (; size >= 0x80; size >>>= 7) {
                    out.write(size | 0x80);
                }
                out.write(size);
                break;
            case "netstring":
                out.write((size + ":").getBytes(StandardCharsets.US_ASCII));
                break;
            default:
        }
        out.write(frame.payload);
        if (framing[0].equals("netstring")) {
            out.write(',');
        } else if (framing[0].equals("delimiter")) {
            out.write(HexFormat.of().parseHex(framing[1]));
        } else if (framing[0].equals("ipcx") && (frame.flags & CRC) == CRC) {
            var crc = new CRC32C();
            crc.update(out.toByteArray());
            out.write(ByteBuffer.allocate(4).putInt((int) crc.getValue()).array());
        }
        return out.toByteArray();
    }

    static byte[] hex(String column) {
        return column.equals("-") ? new byte[0] : HexFormat.of().parseHex(column);
    }

    static String good(String[] column) throws IOException, Broken {
        long correlation = column[5].equals("-") ? 0 : Long.parseUnsignedLong(column[5]);
        var frame = new Frame(TYPES.indexOf(column[3]), Integer.parseInt(column[4], 16),
                correlation, hex(column[6]), hex(column[7]));
        var framing = column[2].split(":");
        if (!Arrays.equals(encode(framing, frame), hex(column[8]))) {
            return "is encoded in another way";
        }
        var reader = new Reader(hex(column[8]));
        return reader.next(framing).same(frame) && reader.atEnd() ? null : "is decoded to another";
    }

    static String bad(String[] column) {
        var reader = new Reader(hex(column[5]));
        try {
            while (!reader.atEnd()) {
                reader.next(column[2].split(":"));
            }
        } catch (Broken e) {
            return e.status.equals(column[3]) && e.offset == Long.parseLong(column[4]) ? null
                    : "is " + e.getMessage();
        }
        return "is no error";
    }

    static byte[] mac(byte[] key, String who, byte[] connector, byte[] listener) throws Exception {
        var sha = MessageDigest.getInstance("SHA-256");
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update(Arrays.copyOf(who.getBytes(StandardCharsets.US_ASCII), 16));
        mac.update(sha.digest(connector));
        return mac.doFinal(sha.digest(listener));
    }

    static int proofs(String path) throws Exception {
        int wrong = 0;
        for (String line : Files.readAllLines(Path.of(path))) {
            if (line.startsWith("#")) {
                continue;
            }
            var column = line.split(" ");
            byte[] key = hex(column[1]), connector = hex(column[2]), listener = hex(column[3]);
            if (!Arrays.equals(mac(key, "ipcx 1 connector", connector, listener), hex(column[4]))
                    || !Arrays.equals(mac(key, "ipcx 1 listener", connector, listener),
                            hex(column[5]))) {
                wrong++;
                System.out.println("proof " + column[0] + " is another");
            }
        }
        return wrong;
    }

    public static void main(String[] args) throws Exception {
        int checked = 0, failed = args.length > 1 ? proofs(args[1]) : 0;
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            if (line.startsWith("#")) {
                continue;
            }
            var column = line.split(" ");
            String wrong = column[0].equals("good") ? good(column) : bad(column);
            checked++;
            if (wrong != null) {
                failed++;
                System.out.println(column[1] + " " + wrong);
            }
        }
        System.out.println(checked + " vectors, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
