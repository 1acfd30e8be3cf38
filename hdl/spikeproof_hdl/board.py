"""A core on a board: a top level with a serial line, over which images, classes, counters and memories go.

:mod:`spikeproof_hdl.host` describes the frames and speaks the other side.
"""
import json
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.files import write_text

from .core import loadable_memories
from .export import ASSIGNMENTS, clean_verilog
from .host import BAUD, COMMANDS, REPLY, REQUEST, VERSION
from .load import ADDRESS_BITS
from .synth import DEVICES, FAMILIES
from .tools import nextpnr, packer, run, synthesis_script, yosys
from .uart import Receiver, Sender

__all__ = ["BOARDS", "BoardSpec", "Link", "Top", "build", "clear", "describe", "write_top"]


@dataclass(frozen=True)
class BoardSpec:
    """A board: its device (a key of synth.DEVICES), clock in MHz, pins of clock and serial line (seen from the FPGA), and
    how its bitstream is loaded: the command, and the serial port that Linux usually gives it."""
    title: str
    device: str
    clock: int
    pins: dict
    loader: str
    port: str


ULX3S = "fujprog top.bit                # until power goes; with -j flash it stays", "/dev/ttyUSB0"
#: Pins as in the makers' schematics and constraint files. The serial line is that of the USB connector.
BOARDS = {
    "icebreaker": BoardSpec("iCEBreaker", "up5k", 12, {"clk": "35", "rx": "6", "tx": "9"},
                            "iceprog top.bit                # into flash: it stays; the program is icestorm's", "/dev/ttyUSB1"),
    "ulx3s-25f": BoardSpec("ULX3S with LFE5U-25F", "25k", 25, {"clk": "G2", "rx": "M1", "tx": "L4"}, *ULX3S),
    "ulx3s-85f": BoardSpec("ULX3S with LFE5U-85F", "85k", 25, {"clk": "G2", "rx": "M1", "tx": "L4"}, *ULX3S),
}
# The image buffer starts empty: a single-port RAM cannot be initialised.
VERILOG = f"read_rtlil top.il; delete t:$meminit*; {ASSIGNMENTS} top.v"
#: A frame whose next byte does not come within so many byte times is given up.
PATIENCE = 64
#: Seconds that place and route may take: a device that is nearly full takes for ever.
PLACING = 300


def _crc(value, byte):
    """CRC-8 of host.crc8, one byte further."""
    bits = list(value ^ byte)
    for _ in range(8):
        out = bits[7]
        bits = [out, bits[0] ^ out, bits[1] ^ out, *bits[2:7]]
    return Cat(*bits)


class Link(wiring.Component):
    """The protocol: whole frames are checked before they take effect; each is answered; nothing is lost silently.

    Parameters
    ----------
    divisor : int, clock cycles of a bit on the line
    words : int, words of an image
    bits : int, of a word
    classes : int
    digest : bytes, of the network; the first eight are told
    memories : (bits of the widest word, bits of an address) of a loadable core, or None
    buffer : attributes of the image buffer's memory, for synthesis

    Members
    -------
    rx, tx : the line
    i : Out(stream of words), to the core
    o : In(stream of the class), from the core
    memory, address, data, write, look : Out, the core's memory port, if it has one; ``found`` is In
    """
    def __init__(self, divisor, words, bits, classes, digest, memories=None, buffer=None):
        self.divisor, self.words, self.bits, self.classes, self.digest = divisor, words, bits, classes, digest
        self.memories, self.buffer = memories, buffer or {}
        port = {} if memories is None else {"memory": Out(8), "address": Out(memories[1]), "data": Out(memories[0]),
                                            "write": Out(1), "look": Out(1), "found": In(memories[0])}
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "i": Out(stream.Signature(bits)),
                          "o": In(stream.Signature(range(max(classes, 2)))), **port})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.divisor)
        m.submodules.sender = sender = Sender(self.divisor)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(sender.tx)]
        word_bytes = -(-self.bits // 8)
        memory_bytes = 0 if self.memories is None else -(-self.memories[0] // 8)
        image_bytes = self.words * word_bytes
        if image_bytes >= 1 << 16:
            raise ValueError(f"an image must have fewer than 65536 bytes, not {image_bytes}")

        # The image: a buffer in words, and the core's side of it.
        m.submodules.image = image = memory.Memory(shape=8 * word_bytes, depth=self.words, init=[], attrs=self.buffer)
        store, fetch = image.write_port(), image.read_port()
        running, loaded, done = Signal(), Signal(), Signal()
        winner, cycles, images = Signal(16), Signal(32), Signal(32)
        ahead, advance = Signal(range(self.words + 1)), Signal()
        # One address for both, so that a memory of one port will do: it is not written while it is read.
        row, where = Signal(range(self.words + 1)), Signal(range(max(self.words, 2)))
        m.d.comb += where.eq(Mux(running, ahead, row))
        m.d.comb += [advance.eq(~self.i.valid | self.i.ready), fetch.addr.eq(where), fetch.en.eq(advance & running),
                     self.i.payload.eq(fetch.data[:self.bits]), self.o.ready.eq(1)]
        with m.If(advance):
            m.d.sync += self.i.valid.eq(running & (ahead != self.words))
            with m.If(running & (ahead != self.words)):
                m.d.sync += ahead.eq(ahead + 1)
        with m.If(running):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.o.valid):
            m.d.sync += [winner.eq(self.o.payload), running.eq(0), done.eq(1), images.eq(images + 1)]

        # A frame on its way in.
        command, length, left, crc = Signal(8), Signal(16), Signal(16), Signal(8)
        byte, arrives = receiver.data, receiver.valid
        bad, lost, patience = Signal(16), Signal(16), Signal(range(PATIENCE * 10 * self.divisor + 1))
        arguments = Signal(8 * (4 + memory_bytes)) if memory_bytes else Signal(8)
        expected, known = Signal(16), Signal()
        sizes = {"identify": 0, "load": image_bytes, "start": 0, "status": 0}
        if memory_bytes:
            sizes |= {"write": 4 + memory_bytes, "read": 4}
        with m.Switch(command):
            for name, size in sizes.items():
                with m.Case(COMMANDS[name]):
                    m.d.comb += [expected.eq(size), known.eq(1)]
        accepting, filling = Signal(), Signal()             # whether the buffer was free as the payload began
        m.d.comb += filling.eq((command == COMMANDS["load"]) & (length == image_bytes) & accepting)

        # Words of the image are stored as they come; they count as loaded when the frame's CRC is right.
        place = Signal(range(max(word_bytes, 2)))
        part = Signal(8 * word_bytes)
        m.d.comb += [store.addr.eq(where), store.data.eq(Cat(part, byte)[8:])]

        # The answer.
        code, reply, reply_length, sent = Signal(8), Signal(8 * max(15, memory_bytes)), Signal(8), Signal(8)
        with m.FSM() as machine:
            def give_up(reason):
                m.d.sync += [code.eq(reason), reply_length.eq(0), bad.eq(bad + 1)]
                m.next = "ANSWER"

            def watch():
                with m.If(receiver.error):
                    give_up(1)
                with m.Elif(patience == PATIENCE * 10 * self.divisor):
                    give_up(5)
            with m.State("MARKER"):
                m.d.sync += [crc.eq(0), place.eq(0), row.eq(0)]
                with m.If(arrives & (byte == REQUEST)):
                    m.next = "COMMAND"
            for name, target, following in (("COMMAND", command, "LOW"), ("LOW", length[:8], "HIGH"), ("HIGH", length[8:], "BODY")):
                with m.State(name):
                    with m.If(arrives):
                        m.d.sync += [target.eq(byte), crc.eq(_crc(crc, byte)), left.eq(Cat(length[:8], byte)),
                                     accepting.eq(~running)]
                        m.next = following
                    watch()
            with m.State("BODY"):
                with m.If(filling & (left != 0)):
                    m.d.sync += loaded.eq(0)
                with m.If(arrives):
                    m.d.sync += [left.eq(left - 1), crc.eq(_crc(crc, byte))]
                    with m.If(left == 0):
                        m.d.sync += left.eq(0)
                        with m.If(crc != byte):
                            give_up(1)
                        with m.Else():
                            m.next = "DO"
                    with m.Else():
                        m.d.sync += arguments.eq(Cat(arguments, byte)[8:])
                        m.d.sync += [part.eq(Cat(part, byte)[8:]), place.eq(Mux(place == word_bytes - 1, 0, place + 1))]
                        with m.If(filling & (place == word_bytes - 1)):
                            m.d.comb += store.en.eq(~running)
                            m.d.sync += row.eq(row + 1)
                watch()
            with m.State("DO"):
                m.d.sync += [code.eq(0), reply_length.eq(0)]
                m.next = "ANSWER"
                with m.If(~known):
                    give_up(2)
                with m.Elif(length != expected):
                    give_up(3)
                with m.Else():
                    with m.Switch(command):
                        with m.Case(COMMANDS["identify"]):
                            told = Cat(Const(VERSION, 8), Const(image_bytes, 16), Const(self.classes, 16),
                                       *(Const(part, 8) for part in self.digest[:8]))
                            m.d.sync += [reply.eq(told), reply_length.eq(13)]
                        with m.Case(COMMANDS["load"]):
                            m.d.sync += [loaded.eq(accepting | loaded), code.eq(Mux(accepting, 0, 4))]
                        with m.Case(COMMANDS["start"]):
                            with m.If(running | ~loaded):
                                m.d.sync += code.eq(4)
                            with m.Else():
                                m.d.sync += [running.eq(1), done.eq(0), ahead.eq(0), cycles.eq(0)]
                        with m.Case(COMMANDS["status"]):
                            m.d.sync += [reply.eq(Cat(running, loaded, done, Const(0, 5), winner, cycles, images, bad, lost)),
                                         reply_length.eq(15)]
                        if memory_bytes:
                            with m.Case(COMMANDS["write"]):
                                with m.If(running):
                                    m.d.sync += code.eq(4)
                                with m.Else():
                                    m.d.comb += self.write.eq(1)
                            with m.Case(COMMANDS["read"]):
                                with m.If(running):
                                    m.d.sync += code.eq(4)
                                with m.Else():
                                    m.d.sync += [reply_length.eq(memory_bytes), sent.eq(0)]
                                    m.next = "LOOK"
            if memory_bytes:
                with m.State("LOOK"):                           # the word is there three cycles later
                    m.d.comb += self.look.eq(1)
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(sent == 4):
                        m.d.sync += reply.eq(self.found)
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.sync += [sent.eq(0), crc.eq(0)]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += sender.i.valid.eq(1)
                with m.Switch(sent):
                    for n, value in enumerate((REPLY, code, reply_length, 0)):
                        with m.Case(n):
                            m.d.comb += sender.i.payload.eq(value)
                    with m.Default():
                        m.d.comb += sender.i.payload.eq(Mux(sent == reply_length + 4, crc, reply[:8]))
                with m.If(sender.i.ready):
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(sent != 0):
                        m.d.sync += crc.eq(_crc(crc, sender.i.payload))
                    with m.If(sent >= 4):
                        m.d.sync += reply.eq(reply >> 8)
                    with m.If(sent == reply_length + 4):
                        m.next = "MARKER"
        inside = Signal()
        m.d.comb += inside.eq(Cat(machine.ongoing(state) for state in ("COMMAND", "LOW", "HIGH", "BODY")).any())
        # Bytes that come while an answer is made and sent are lost, and counted.
        with m.If((arrives | receiver.error) & ~inside & ~machine.ongoing("MARKER")):
            m.d.sync += lost.eq(lost + 1)
        m.d.sync += patience.eq(Mux(inside & ~arrives, patience + 1, 0))
        if memory_bytes:
            # The four bytes before the word lie at the bottom; without a word, at the top.
            head = Mux(command == COMMANDS["read"], arguments[8 * memory_bytes:], arguments[:32])
            m.d.comb += [self.memory.eq(head[:8]), self.address.eq(head[8:]), self.data.eq(arguments[32:])]
        return m


class Top(Elaboratable):
    """The whole design of a board: reset after power-up, the link, and an instance of core.v.

    Parameters
    ----------
    link : Link
    """
    def __init__(self, link):
        self.link = link
        self.clk, self.rx, self.tx = (Signal(name=name) for name in ("clk", "rx", "tx"))

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.d.comb += domain.clk.eq(self.clk)
        # Block RAM of an iCE40 is readable some microseconds after configuration only.
        m.domains.start = start = ClockDomain(reset_less=True)
        m.d.comb += start.clk.eq(self.clk)
        count = Signal(10)
        with m.If(~count.all()):
            m.d.start += count.eq(count + 1)
        m.d.comb += domain.rst.eq(~count.all())

        m.submodules.link = link = self.link
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        port = {} if link.memories is None else {"i_load_memory": link.memory, "i_load_address": link.address,
                                                 "i_load_data": link.data, "i_load_write": link.write,
                                                 "i_load_read": link.look, "o_load_found": link.found}
        m.submodules.core = Instance(
            "core", i_clk=ClockSignal(), i_rst=domain.rst,
            i_i_valid=link.i.valid, o_i_ready=link.i.ready, i_i_payload=link.i.payload,
            o_o_valid=link.o.valid, i_o_ready=link.o.ready, o_o_payload=link.o.payload, **port)
        return m


def clear(out):
    """Make a board's folder, or remove what an earlier run left in it, so that nothing there is of another design.

    Raises
    ------
    ValueError
        If it holds other files than a board's, or folders of their names.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    files = list(out.iterdir())
    if files and not (out / "top.v").is_file():
        raise ValueError(f"{out} must be a new folder, or a board's to replace, but holds other files")
    ours = [path for path in files if path.name in ("README.md", "board.json", "core.v", "host.py")
            or path.name.startswith("top.") or path.suffix == ".mem"]
    for path in ours:
        if path.is_dir():
            raise ValueError(f"{path} must be a file to replace, but is a folder")
    for path in sorted(ours, key=lambda path: path.name == "top.v"):          # what marks the folder is the last
        path.unlink()


def write_top(plan, board, network, out):
    """Write top.v and the pins' constraints of a board into a folder with a core's files.

    Parameters
    ----------
    plan : CorePlan
    board : a key of BOARDS
    network : str, digest of the network file in hexadecimal digits
    out : folder

    Returns
    -------
    Link
    """
    spec, net, out = BOARDS[board], plan.net, Path(out)
    # The UP5K's single-port RAM holds the image: its block RAM is for the core.
    buffer = {"ram_style": "huge"} if spec.device == "up5k" else {}
    link = Link(round(spec.clock * 1e6 / BAUD), plan.image_words, plan.word * net.input.bits, net.classes,
                bytes.fromhex(network[:16]),
                (max(loadable_memories(plan).values()), ADDRESS_BITS) if plan.loadable else None, buffer)
    top = Top(link)
    with tempfile.TemporaryDirectory(dir=out, prefix=".top.") as work:
        (Path(work) / "top.il").write_text(rtlil.convert(top, name="top", ports=[top.clk, top.rx, top.tx], emit_src=False))
        run([yosys(), "-q", "-p", VERILOG], work)
        write_text(out / "top.v", clean_verilog((Path(work) / "top.v").read_text()))
    if DEVICES[spec.device].family == "ice40":
        text = "".join(f"set_io {name} {pin}\n" for name, pin in spec.pins.items()) + f"set_frequency clk {spec.clock}\n"
        write_text(out / "top.pcf", text)
    else:
        text = "".join(f'LOCATE COMP "{name}" SITE "{pin}";\nIOBUF PORT "{name}" IO_TYPE=LVCMOS33;\n'
                       for name, pin in spec.pins.items())
        write_text(out / "top.lpf", text + f'FREQUENCY PORT "clk" {spec.clock} MHZ;\n')
    return link


def build(folder, board, seed=1):
    """Synthesise, place, route and pack top.v and core.v of a folder -> dict: bitstream (path), lut, bram, fmax_mhz, clock_mhz.

    Raises
    ------
    RuntimeError
        If a tool fails, for instance because the design does not fit, or is slower than the board's clock.
    """
    spec = BOARDS[board]
    chip, folder, began = DEVICES[spec.device], Path(folder), time.monotonic()
    script = synthesis_script(FAMILIES[chip.family][0] + (" -spram" if chip.family == "ice40" else ""), "top")
    run([yosys(), "-q", "-l", "top.log", "-p", f"read_verilog -sv core.v top.v; {script}; write_json top.json"], folder)
    constraint, packed = (("--pcf", "top.pcf"), ("--asc", "top.asc")) if chip.family == "ice40" else \
        (("--lpf", "top.lpf"), ("--textcfg", "top.config"))
    try:
        run([nextpnr(chip.family), *chip.options, "--json", "top.json", *constraint, *packed, "--seed", str(seed),
             "--report", "top.report.json", "--timing-allow-fail"], folder, folder / "top.nextpnr.log", seconds=PLACING)
    except RuntimeError as error:
        raise RuntimeError(f"{error}; where the device is too small, generate the core with fewer lanes or a smaller fetch, as "
                           "--lanes 8 --fetch 16") from None
    report = json.loads((folder / "top.report.json").read_text())
    fmax = round(min(clock["achieved"] for clock in report["fmax"].values()), 2)
    if fmax < spec.clock:
        raise RuntimeError(f"{spec.title}: the design reaches {fmax} MHz, but the board's clock has {spec.clock}")
    run([packer(chip.family), packed[1], "top.bit"], folder)
    used = {kind: cell["used"] for kind, cell in report["utilization"].items()}
    lut, bram = ("ICESTORM_LC", "ICESTORM_RAM") if chip.family == "ice40" else ("TRELLIS_COMB", "DP16KD")
    return {"board": spec.title, "device": chip.part, "clock_mhz": spec.clock, "fmax_mhz": fmax, "lut": used[lut],
            "bram": used[bram], "bitstream": "top.bit", "seconds": round(time.monotonic() - began, 1)}


def describe(board, result):
    """README.md of a board's folder, of what :func:`build` found -> str."""
    spec = BOARDS[board]
    ice40 = DEVICES[spec.device].family == "ice40"
    text = (resources.files("spikeproof_hdl") / "templates" / "board.md").read_text()
    return text.format(title=spec.title, part=result["device"], loader=spec.loader, port=spec.port, baud=BAUD,
                       constraints="top.pcf" if ice40 else "top.lpf", placed="top.asc" if ice40 else "top.config",
                       packer="icepack" if ice40 else "ecppack",
                       **{key: result[key] for key in ("lut", "bram", "fmax_mhz", "clock_mhz")})
