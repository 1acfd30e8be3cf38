"""Run by cocotb on a board's top.v: the protocol at its pins, with every way in which a frame can be bad."""
import json
import os
import struct

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
from spikeproof_hdl.host import CODES, REPLY, frame, parse

GIVEN = json.loads(os.environ["BOARD_TEST"])
BIT = GIVEN["divisor"]


class Pins:
    """The two wires of the serial line."""
    def __init__(self, dut):
        self.dut = dut

    async def send(self, data, stop=1, gap=0):
        """Bytes, one after the other; ``stop`` is the last one's stop bit."""
        for n, byte in enumerate(data):
            last = n == len(data) - 1
            for bit in [0, *(byte >> k & 1 for k in range(8)), stop if last else 1]:
                self.dut.rx.value = bit
                await ClockCycles(self.dut.clk, BIT)
            self.dut.rx.value = 1
            if gap or not stop:
                await ClockCycles(self.dut.clk, gap + BIT)

    async def byte(self):
        """The next byte; AssertionError if none begins in time."""
        for _ in range(2000 * BIT):                                            # longer than a load and the board's patience
            if self.dut.tx.value == 0:
                break
            await ClockCycles(self.dut.clk, 1)
        else:
            raise AssertionError("no answer")
        await ClockCycles(self.dut.clk, BIT // 2)
        value = 0
        for k in range(8):
            await ClockCycles(self.dut.clk, BIT)
            value |= int(self.dut.tx.value) << k
        await ClockCycles(self.dut.clk, BIT)
        assert self.dut.tx.value == 1, "stop bit"
        return value

    async def answer(self):
        """(code, payload) of the next frame."""
        head = [await self.byte() for _ in range(4)]
        assert head[0] == REPLY
        rest = [await self.byte() for _ in range(head[2] + 1)]
        return parse(bytes(head + rest))

    async def ask(self, command, payload=b"", code=0):
        """Send a frame, and expect an answer with a code -> its payload."""
        sender = cocotb.start_soon(self.send(frame(command, payload)))
        found, payload = await self.answer()
        await sender
        assert found == code, f"{command}: must be answered by {CODES[code]!r}, not {CODES[found]!r}"
        return payload

    async def status(self):
        flags, winner, cycles, images, bad, lost = struct.unpack("<BHIIHH", await self.ask("status"))
        return {"running": flags & 1, "loaded": flags >> 1 & 1, "done": flags >> 2 & 1, "class": winner, "cycles": cycles,
                "images": images, "bad": bad, "lost": lost}

    async def classify(self, image):
        await self.ask("load", image)
        await self.ask("start")
        return await self.finished()

    async def finished(self):
        for _ in range(1000):
            state = await self.status()
            if state["done"]:
                return state
        raise AssertionError("the image was never done")


async def powered(dut):
    """The pins, idle; the tests follow one another without another power-up."""
    dut.rx.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    await FallingEdge(dut.clk)
    await ClockCycles(dut.clk, 1100)                                         # the reset after power-up
    return Pins(dut)


IMAGES = [bytes.fromhex(image) for image in GIVEN["images"]]


@cocotb.test()
async def images_are_classified(dut):
    pins = await powered(dut)
    version, size, classes, digest = struct.unpack("<BHH8s", await pins.ask("identify"))
    assert (version, size, classes, digest.hex()) == (1, len(IMAGES[0]), GIVEN["classes"], GIVEN["network"][:16])
    await pins.ask("start", code=4)                                          # nothing is loaded
    for n, (image, winner) in enumerate(zip(IMAGES, GIVEN["winners"])):
        state = await pins.classify(image)
        assert state["class"] == winner and state["images"] == n + 1 and state["bad"] == state["lost"] == 0
    await pins.ask("start")                                                  # the image stays loaded, and takes as long again
    again = await pins.finished()
    assert (again["class"], again["cycles"]) == (state["class"], state["cycles"]) and again["cycles"] == GIVEN["cycles"]


@cocotb.test()
async def bad_frames_change_nothing(dut):
    pins = await powered(dut)
    before = await pins.status()
    winner = (await pins.classify(IMAGES[0]))["class"]
    assert winner == GIVEN["winners"][0]

    async def refused(data, code, **how):
        sender = cocotb.start_soon(pins.send(data, **how))
        found, payload = await pins.answer()
        await sender
        assert (found, payload) == (code, b""), f"must be refused with {CODES[code]!r}, not {CODES[found]!r}"
    good = frame("start")
    await refused(good[:-1] + bytes([good[-1] ^ 1]), 1)                      # CRC
    await refused(frame("start", b"x"), 3)                                   # length
    await refused(frame("load", IMAGES[0] + b"x"), 3)
    await refused(frame(99), 2)                                              # command
    await refused(good[:2], 1, stop=0)                                       # a stop bit is low
    await refused(good[:3], 5)                                               # the frame stops
    state = await pins.status()
    assert state["bad"] - before["bad"] == 6 and state["images"] - before["images"] == 1
    assert state["loaded"] and not state["running"]
    await pins.send(b"\x00\xff\x12")                                         # noise between frames
    await pins.ask("start")
    assert (await pins.finished())["class"] == winner
    # A damaged image is never run, and the next good one is.
    data = bytearray(frame("load", IMAGES[1]))
    data[10] ^= 0x40
    await refused(bytes(data), 1)
    assert not (await pins.status())["loaded"]
    await pins.ask("start", code=4)
    assert (await pins.classify(IMAGES[1]))["class"] == GIVEN["winners"][1]


@cocotb.test()
async def overruns_are_refused_or_counted(dut):
    pins = await powered(dut)
    before = await pins.status()
    await pins.ask("load", IMAGES[2])
    await pins.ask("start")
    await pins.ask("start", code=4)                                          # it is running
    state = await pins.finished()
    assert state["class"] == GIVEN["winners"][2] and state["images"] == before["images"] + 1
    # Frames without waiting for answers: what comes while one is sent is lost, and counted.
    sender = cocotb.start_soon(pins.send(frame("status") * 3))
    assert (await pins.answer())[0] == 0
    await sender
    await ClockCycles(dut.clk, 100 * 10 * BIT)
    assert (await pins.status())["lost"] >= before["lost"] + 5
    assert (await pins.classify(IMAGES[0]))["class"] == GIVEN["winners"][0]


@cocotb.test(skip=not GIVEN["words"])
async def memories_are_written_and_read_back(dut):
    """All memories become another network's; then the core computes that one, from the same pins."""
    pins = await powered(dut)
    for memory, (before, after) in enumerate(GIVEN["words"]):
        for address, (old, new) in enumerate(zip(before, after)):
            at = struct.pack("<BI", memory, address)[:4]
            if address == 0:
                assert (await pins.ask("read", at)).hex() == old, f"memory {memory}"
            await pins.ask("write", at + bytes.fromhex(new))
    for memory, (_, after) in enumerate(GIVEN["words"]):
        for address, new in enumerate(after):
            at = struct.pack("<BI", memory, address)[:4]
            assert (await pins.ask("read", at)).hex() == new, f"memory {memory}, word {address}"
    await pins.ask("write", b"", code=3)
    for image, winner in zip(IMAGES, GIVEN["other_winners"]):
        assert (await pins.classify(image))["class"] == winner
    for command, payload in (("write", at + bytes.fromhex(old)), ("read", at)):
        await pins.ask("start")
        await pins.ask(command, payload, code=4)                             # not while it runs
        assert (await pins.finished())["class"] == GIVEN["other_winners"][-1]
