"""cocotb 2: core.v against the golden traces in vectors/. `make cocotb` runs it; IMAGES=N takes the first N images."""
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

HERE = Path(__file__).parent
VECTORS = HERE / "vectors"


def load(name, images=1, of=1):
    """The words of the first images of a file, which has as many words for each -> list of int."""
    words = (VECTORS / f"{name}.hex").read_text().split()
    return [int(word, 16) for word in words[:len(words) * images // of]]


async def check(dut, stalls):
    """Feed the input, and compare every update and class, in a loop of clock edges."""
    classes = load("classes")
    images = min(int(os.environ.get("IMAGES", len(classes))), len(classes))
    words = iter(load("input", images, len(classes)))
    traces = {path.stem: load(path.stem, images, len(classes)) for path in VECTORS.glob("trace_*.hex")}
    expected, left = {name: iter(trace) for name, trace in traces.items()}, {name: len(trace) for name, trace in traces.items()}
    draw = random.Random(1)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value, dut.i_valid.value, dut.o_ready.value, dut.i_payload.value = 1, 0, 0, 0
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    results, refuse, sending = 0, 0, False
    for _ in range(200_000_000):
        if not sending and not (stalls and draw.random() < 0.2):
            word = next(words, None)
            sending = word is not None
            dut.i_payload.value = word or 0
        dut.i_valid.value = int(sending)
        dut.o_ready.value = int(refuse == 0)
        refuse -= refuse > 0
        await ReadOnly()
        taken = sending and dut.i_ready.value == 1
        for name in left:
            if getattr(dut, f"{name}_valid").value == 1:
                got, want = int(getattr(dut, f"{name}_payload").value), next(expected[name], None)
                assert got == want, f"{name}, {left[name]} updates before the end: must be {want}, not {got}"
                left[name] -= 1
        if dut.o_valid.value == 1 and refuse == 0:
            got = int(dut.o_payload.value)
            assert got == classes[results], f"image {results}: the class must be {classes[results]}, not {got}"
            results += 1
            refuse = draw.randrange(5000) if stalls else 0
        await RisingEdge(dut.clk)
        sending = sending and not taken
        if results == images:
            break
    assert results == images and not any(left.values()), f"{results} of {images} images; updates missing: {left}"
    assert not sending and next(words, None) is None, "the core must have taken every word"


@cocotb.test()
async def full_speed(dut):
    """Back to back."""
    await check(dut, stalls=False)


@cocotb.test()
async def stalled(dut):
    """With idle input and refused results."""
    await check(dut, stalls=True)
