"""The host's side of a board: frames of bytes, as :mod:`spikeproof_hdl.board` speaks them. Needs Python and, for a port, pyserial.

  python host.py /dev/ttyUSB1 .../rtl/vectors/input.hex      # classify the images of a bundle, and compare with its classes.hex

A frame is a marker, a command (or, in a reply, a code), the length of the payload in two bytes, lowest first, the payload, and a
CRC-8 (polynomial x^8 + x^2 + x + 1, initially 0) over all but the marker. Every frame is answered by one frame, understood or not;
the host waits for it.
"""
import argparse
import json
import struct
import sys
import time
from pathlib import Path

__all__ = ["BAUD", "Board", "BoardError", "CODES", "COMMANDS", "compare", "crc8", "frame", "image_bytes", "main", "parse"]

BAUD = 1_000_000
REQUEST, REPLY = 0x53, 0x52
COMMANDS = {"identify": 1, "load": 2, "start": 3, "status": 4, "write": 5, "read": 6}
#: What a reply's code says.
CODES = {0: "done", 1: "the frame's CRC or a stop bit was wrong", 2: "unknown command", 3: "wrong length",
         4: "busy, or nothing is loaded", 5: "the frame stopped in the middle"}
VERSION = 1


class BoardError(RuntimeError):
    """The board refused a frame, or its answer is none."""


def crc8(data):
    """CRC-8 of bytes, polynomial 0x07."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xff
    return value


def frame(command, payload=b""):
    """The bytes of a request."""
    body = struct.pack("<BH", COMMANDS.get(command, command), len(payload)) + payload
    return bytes([REQUEST]) + body + bytes([crc8(body)])


def parse(data):
    """A reply's bytes -> (code, payload).

    Raises
    ------
    BoardError
        If they are no whole frame with a right CRC.
    """
    if len(data) < 5 or data[0] != REPLY or len(data) != 5 + int.from_bytes(data[2:4], "little"):
        raise BoardError(f"the board's reply must be a frame, not {data.hex() or 'nothing'}")
    if crc8(data[1:-1]) != data[-1]:
        raise BoardError(f"the CRC of the board's reply is wrong: {data.hex()}")
    return data[1], data[4:-1]


def image_bytes(words, bits):
    """Words of the input stream (ints of ``bits`` bits) -> payload of "load"; ValueError where one has more bits."""
    for word in words:
        if not 0 <= word < 1 << bits:
            raise ValueError(f"a word must have {bits} bits, not the value {word}")
    return b"".join(int(word).to_bytes(-(-bits // 8), "little") for word in words)


class Board:
    """A board at the end of a serial line.

    Parameters
    ----------
    line : object with ``write(bytes)`` and ``read(count)``, for instance ``serial.Serial(port, BAUD, timeout=2)``
    memories : "memories" of board.json, of a loadable core: with them, ``read`` and ``write`` refuse what has no place there
    """
    def __init__(self, line, memories=None):
        self.line, self.memories = line, memories

    def ask(self, command, payload=b"", size=None):
        """Send a request and return its reply's payload; BoardError if it is refused, or has not ``size`` bytes."""
        if hasattr(self.line, "reset_input_buffer"):              # what is left of an earlier answer
            self.line.reset_input_buffer()
        self.line.write(frame(command, payload))
        head = self.line.read(4)
        rest = self.line.read(int.from_bytes(head[2:4], "little") + 1) if len(head) == 4 else b""
        if not head:
            raise BoardError(f"{command}: no answer: is this the board's port, and is top.bit loaded?")
        code, payload = parse(head + rest)
        if code:
            raise BoardError(f"{command}: {CODES.get(code, f'code {code}')}")
        if size is not None and len(payload) != size:
            raise BoardError(f"{command}: the answer must have {size} bytes, not {len(payload)}")
        return payload

    def identify(self):
        """dict: version, image_bytes, classes, network (first 8 bytes of the network's digest, in hexadecimal digits)."""
        version, image, classes, digest = struct.unpack("<BHH8s", self.ask("identify", size=13))
        return {"version": version, "image_bytes": image, "classes": classes, "network": digest.hex()}

    def load(self, image):
        """Load an image (bytes, see :func:`image_bytes`)."""
        self.ask("load", image, 0)

    def start(self):
        """Start on the loaded image; it stays loaded."""
        self.ask("start", size=0)

    def status(self):
        """dict: running, loaded, done, class, cycles of the last image, images, bad_frames, overruns (bytes lost)."""
        flags, winner, cycles, images, bad, lost = struct.unpack("<BHIIHH", self.ask("status", size=15))
        return {"running": bool(flags & 1), "loaded": bool(flags & 2), "done": bool(flags & 4), "class": winner,
                "cycles": cycles, "images": images, "bad_frames": bad, "overruns": lost}

    def write(self, memory, address, word):
        """Write a word (bytes of the widest memory's width, lowest first) of a loadable memory.

        The board does not look at place and value: an address outside wraps, bits that do not fit are dropped. Give ``memories`` to
        have them checked here.
        """
        place = self._place(memory, address)
        if self.memories:
            name, width = (self.memories[memory][key] for key in ("name", "width"))
            if int.from_bytes(word, "little") >> width:
                raise ValueError(f"a word of {name} must have {width} bits, not the value {int.from_bytes(word, 'little'):#x}")
        self.ask("write", place + word, 0)

    def read(self, memory, address):
        """Read a word of a loadable memory -> bytes, lowest first."""
        return self.ask("read", self._place(memory, address))

    def _place(self, memory, address):
        memories = 1 << 8 if self.memories is None else len(self.memories)
        if not 0 <= memory < memories:
            raise ValueError(f"memory must be below {memories}, not {memory}")
        depth = 1 << 24 if self.memories is None else self.memories[memory]["depth"]
        if not 0 <= address < depth:
            raise ValueError(f"address must be below {depth}, not {address}")
        return struct.pack("<BI", memory, address)[:4]

    def classify(self, image, seconds=10):
        """Load, start, wait -> (class, cycles); BoardError if there is no class after ``seconds``."""
        self.load(image)
        self.start()
        until = time.monotonic() + seconds
        while not (found := self.status())["done"]:
            if time.monotonic() > until:
                raise BoardError(f"the board gave no class within {seconds} seconds")
        return found["class"], found["cycles"]


def _text(path):
    """The text of a file; ValueError where it has none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be text") from None


def _hex(path, below):
    """The numbers of a file of hexadecimal digits, one a line; ValueError at the first that is none, or not below ``below``."""
    numbers = []
    for n, line in enumerate(_text(path).split(), 1):
        try:
            numbers.append(int(line, 16))
        except ValueError:
            raise ValueError(f"{path}: number {n} must be hexadecimal digits, not {line[:40]!r}") from None
        if not 0 <= numbers[-1] < below:
            raise ValueError(f"{path}: number {n} must be below {below:#x}, not {line[:40]}")
    return numbers


def _known(path):
    """What is known of a board: board.json as a dict; ValueError where it is none."""
    try:
        known = json.loads(_text(path))
        good = (all(type(known[key]) is int and known[key] > 0 for key in ("words", "word_bits", "clock_mhz"))
                and isinstance(known["network_sha256"], str))
    except (json.JSONDecodeError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(f"{path} must be the board.json of a board's folder")
    return known


def compare(board, known, words, classes=None, say=print):
    """Classify images and tell each class -> images whose class is not the expected one.

    Parameters
    ----------
    board : Board
    known : dict of board.json
    words : words of the input stream, of one image after the other
    classes : the class of each image, or None
    say : called with each line of text

    Raises
    ------
    BoardError
        If the board holds another design, or does not answer as it should.
    """
    size, wanted = known["words"], known["network_sha256"][:16]
    images = [image_bytes(words[at:at + size], known["word_bits"]) for at in range(0, len(words), size)]
    holds = board.identify()
    if holds["version"] != VERSION:
        raise BoardError(f"the board must speak version {VERSION} of the protocol, not {holds['version']}: build and load it again")
    if holds["network"] != wanted:
        raise BoardError(f"the board must hold the network of board.json, {wanted}, but holds {holds['network']}: load top.bit")
    if holds["image_bytes"] != len(images[0]):
        raise BoardError(f"an image must have {len(images[0])} bytes, but the board takes {holds['image_bytes']}: load top.bit")
    wrong = []
    for k, image in enumerate(images):
        found, cycles = board.classify(image)
        differs = classes is not None and found != classes[k]
        wrong += [k] * differs
        say(f"image {k}: class {found}" + (f", not {classes[k]}" if differs else "")
            + f" in {cycles:,} cycles, {cycles / known['clock_mhz']:,.1f} us")
    return wrong


def _run(args, connect):
    """Read the files, then talk -> exit status."""
    known = _known(args.board)
    words = _hex(args.images, 1 << known["word_bits"])
    images, rest = divmod(len(words), known["words"])
    if rest or not images:
        raise ValueError(f"{args.images} must have {known['words']} words for each image (of {args.board}), but has {len(words)}")
    beside = Path(args.images).with_name("classes.hex")
    expected = args.classes or (beside if beside.is_file() else None)
    classes = None if expected is None else _hex(expected, 1 << 16)
    if classes is not None and len(classes) != images:
        raise ValueError(f"{expected} must have a class for each image, but has {len(classes)}, and {args.images} has {images} "
                         f"images of {known['words']} words: is it the bundle of this core?")
    if connect is None:
        try:
            from serial import Serial as connect
        except ImportError:
            raise ValueError("the serial port needs pyserial: pip install pyserial") from None
    wrong = compare(Board(connect(args.port, BAUD, timeout=2)), known, words, classes)
    if classes is None:
        print("nothing is known of the expected classes: none was compared")
    else:
        print(f"FAIL: {len(wrong)} of {images} images have another class" if wrong else
              f"PASS: all {images} images have the class of {expected}")
    return int(bool(wrong))


def main(argv=None, connect=None):
    """Classify the images of a file on a board -> exit status: 0, 1 where a class is another one, 2 for what could not be done."""
    parser = argparse.ArgumentParser(
        description="Classify images on a board, and compare with the classes that are expected.",
        epilog="Exit status: 0, 1 where a class is another one, 2 for what could not be done. Without classes nothing is compared.")
    parser.add_argument("port", help="serial port, as /dev/ttyUSB1 or COM4")
    parser.add_argument("images", help="input.hex of a bundle's vectors: a word of the input stream a line")
    parser.add_argument("--classes", help="what is expected, a class a line (default: classes.hex beside the images, if there)")
    parser.add_argument("--board", default=Path(__file__).with_name("board.json"),
                        help="what the board holds: board.json of its folder (default: beside this file)")
    args = parser.parse_args(argv)
    try:
        return _run(args, connect)
    except (ValueError, BoardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:                                      # of the port
        print(f"error: port {args.port}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
