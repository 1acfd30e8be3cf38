"""Boards: the protocol at the pins of the generated top level, and bitstreams by the open tools."""
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from conftest import ROOT, not_run
from spikeproof_hdl import board, host
from spikeproof_hdl.audit import read_words
from spikeproof_hdl.board import BOARDS, build, write_top
from spikeproof_hdl.core import loadable_memories
from spikeproof_hdl.cosim import input_ints
from spikeproof_hdl.export import export_core
from spikeproof_hdl.host import Board, BoardError, crc8, frame, image_bytes, parse
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.synth import AUTO, DEVICES, synthesize
from spikeproof_hdl.timing import predict
from spikeproof_hdl.uart import Receiver, Sender
from spikeproof_hdl.verify import verify
from strategies import random_frames, small_network

from spikeproof import integer

NETWORK = "0123456789abcdef" * 4


def words_of(plan, frames):
    """The words of each image, as ints."""
    words = input_ints(plan, frames)
    per_image = len(words) // len(frames)
    return [words[k * per_image:(k + 1) * per_image] for k in range(len(frames))]


@pytest.fixture(scope="module", params=["icebreaker", "ulx3s-25f"])
def made(request, tmp_path_factory):
    """(board, folder with top.v, link, plan, frames)"""
    folder = tmp_path_factory.mktemp(request.param)
    plan = CorePlan.of(small_network(), 4)
    export_core(plan, folder)
    return request.param, folder, write_top(plan, request.param, NETWORK, folder), plan, random_frames(plan.net, 3, rate=0.6)


def protocol(folder, link, plan, frames, words=(), other=None):
    """Run tests/board_protocol.py in Icarus -> (status, output)."""
    if shutil.which("iverilog") is None:
        not_run("iverilog is not installed (Debian: apt-get install iverilog)")
    bits = plan.word * plan.net.input.bits
    given = {"divisor": link.divisor, "images": [image_bytes(words, bits).hex() for words in words_of(plan, frames)],
             "winners": integer.run(plan.net, frames).winner.tolist(), "classes": plan.net.classes, "network": NETWORK,
             # The last image, from start to class: as the model of the core predicts, and two more to read the buffer.
             "cycles": predict(plan, frames[-1:]).results[0] + 2,
             "words": words, "other_winners": other and integer.run(other, frames).winner.tolist()}
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MAKEFLAGS": "",
           "BOARD_TEST": json.dumps(given), "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "hdl", "tests"))}
    makefiles = subprocess.run(["cocotb-config", "--makefiles"], env=env, capture_output=True, text=True).stdout.strip()
    done = subprocess.run(["make", "-f", f"{makefiles}/Makefile.sim", "SIM=icarus", "TOPLEVEL_LANG=verilog",
                           f"VERILOG_SOURCES={folder}/core.v {folder}/top.v", "COCOTB_TOPLEVEL=top",
                           "COCOTB_TEST_MODULES=board_protocol"], cwd=folder, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_protocol_at_the_pins(made):
    _, folder, link, plan, frames = made
    status, out = protocol(folder, link, plan, frames)
    assert status == 0 and "TESTS=4 PASS=3 FAIL=0 SKIP=1" in out, out[-4000:]


def test_command_line_knows_the_boards_and_devices():
    from spikeproof.config import HardwareOptions
    from spikeproof.stages import board as stage
    from spikeproof.stages import synthesize
    assert set(stage.BOARDS) == set(BOARDS)
    assert set(synthesize.DEVICES) == {AUTO, *DEVICES}
    assert set(get_args(HardwareOptions.model_fields["device"].annotation)) <= {AUTO, *DEVICES}


@pytest.mark.slow
def test_bitstream(made):
    name, folder, *_ = made
    result = build(folder, name)
    assert result["fmax_mhz"] >= BOARDS[name].clock == result["clock_mhz"]
    assert (folder / result["bitstream"]).stat().st_size > 50_000
    text = board.describe(name, result)
    named = {word for line in text.splitlines() if line.startswith("| `") for word in re.findall(r"`([\w.]+)`", line.split("|")[1])}
    assert result["device"] in text and len(named) >= 9
    assert {path for path in named if not (folder / path).exists()} == {"host.py", "board.json"}       # the stage's


def other_network():
    """A network of the shape of small_network, with other codes, thresholds, biases and initial membranes that fit its widths."""
    net, rng = small_network(), np.random.default_rng(11)
    conv, out = net.layers
    shuffled = [replace(p, weights=rng.permutation(p.weights.reshape(-1, p.out_channels)).reshape(p.weights.shape))
                for p in (conv.projections[0], out.projections[0])]
    return replace(net, layers=(replace(conv, projections=(shuffled[0],), theta=conv.theta - 4, bias=np.array([-1, 2, 0, 1]),
                                        v_init=conv.v_init[..., ::-1]),
                                replace(out, projections=(shuffled[1],))))


@pytest.mark.slow
def test_memories_over_the_line(tmp_path):
    """A loadable core holds one network, is given another word by word over the pins, and computes that one."""
    net, other = small_network(), other_network()
    frames = random_frames(net, 3, rate=0.6)
    plans = [CorePlan.of(each, 4, loadable=True) for each in (net, other)]
    images = []
    for plan, folder in zip(plans, (tmp_path / "first", tmp_path / "second")):
        manifest = export_core(plan, folder)
        images.append({path: read_words(folder / f"{path}.mem", manifest["memories"][f"core.{path}"]["width"])
                       for path in manifest["loadable"]})
    first, second = images
    assert list(first) == ["conv1.accumulator.weights", "conv1.neurons.theta", "conv1.neurons.bias", "conv1.neurons.v_init",
                           "out.accumulator.weights"]
    assert all(len(first[path]) == len(second[path]) for path in first)
    assert integer.run(net, frames).spikes["out"].tolist() != integer.run(other, frames).spikes["out"].tolist()
    size = -(-max(loadable_memories(plans[0]).values()) // 8)
    words = [[[word.to_bytes(size, "little").hex() for word in image[path]] for image in images] for path in first]
    link = write_top(plans[0], "icebreaker", NETWORK, tmp_path / "first")
    status, out = protocol(tmp_path / "first", link, plans[0], frames, words, other)
    assert status == 0 and "TESTS=4 PASS=4 FAIL=0" in out, out[-4000:]


@pytest.mark.slow
def test_loadable_core_is_proved_and_synthesised_like_any_other(tmp_path):
    plan = CorePlan.of(small_network(), 4, loadable=True)
    export_core(plan, tmp_path / "core")
    result = verify(plan, tmp_path / "core", random_frames(plan.net, 3, rate=0.6), tmp_path / "sim", tmp_path / "divergence")
    assert result["equal"] and result["memory_equal"]
    small = replace(DEVICES["25k"], luts=100)
    with patch.dict(DEVICES, {"25k": small}):                        # auto takes the next larger one, a named one is refused
        found = synthesize(tmp_path / "core", tmp_path / "yosys")
        assert found["dsp"] == 0 and found["device"] == "LFE5U-45F" and found["fmax_mhz"] > 10
        with pytest.raises(RuntimeError, match=r"needs about [\d,]+ LUT and \d+ block RAM, and LFE5U-25F \(25k\) has 100 and 56"):
            synthesize(tmp_path / "core", tmp_path / "again", "25k")
    assert CorePlan.from_dict(plan.net, plan.to_dict()).loadable


@pytest.mark.slow
def test_a_link_that_ignores_the_crc_fails(tmp_path):
    plan = CorePlan.of(small_network(), 4)
    export_core(plan, tmp_path)
    with patch.object(board, "_crc", lambda value, byte: byte):
        link = write_top(plan, "icebreaker", NETWORK, tmp_path)
    status, out = protocol(tmp_path, link, plan, random_frames(plan.net, 3, rate=0.6))
    assert status and "PASS=3" not in out


@pytest.mark.parametrize("divisor", [4, 5, 12])
def test_serial_line(divisor):
    """Every byte, sent and received; a line two percent fast or slow is read too where a bit is long enough."""
    receiver, sender = Receiver(divisor), Sender(divisor)
    m = Module()
    m.submodules.receiver, m.submodules.sender = receiver, sender
    m.d.comb += receiver.rx.eq(sender.tx)
    got = []

    async def send(ctx):
        for byte in range(256):
            ctx.set(sender.i.payload, byte)
            ctx.set(sender.i.valid, 1)
            await ctx.tick().until(sender.i.ready)
        ctx.set(sender.i.valid, 0)

    async def receive(ctx):
        while len(got) < 256:
            _, _, valid, data, error = await ctx.tick().sample(receiver.valid, receiver.data, receiver.error)
            assert not error
            if valid:
                got.append(data)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.run_until(256 * 11 * divisor * 1e-6 + 1e-3)
    assert got == list(range(256))


class Line:
    """A serial line whose other end answers with given bytes."""
    def __init__(self, *answers):
        self.sent, self.answers = [], b"".join(answers)

    def write(self, data):
        self.sent.append(data)

    def read(self, count):
        found, self.answers = self.answers[:count], self.answers[count:]
        return found


def answer(code, payload=b""):
    body = bytes([code, len(payload), 0]) + payload
    return bytes([host.REPLY]) + body + bytes([crc8(body)])


def test_host():
    line = Line(answer(0), answer(0), answer(0, bytes.fromhex("0300 00 10270000 02000000 0100 0000".replace(" ", ""))),
                answer(0, bytes.fromhex("0605 00 10270000 03000000 0100 0000".replace(" ", ""))))
    assert Board(line).classify(b"abc") == (5, 10_000)
    assert line.sent == [frame("load", b"abc"), frame("start"), frame("status"), frame("status")]


@pytest.mark.parametrize("given, sentence", [
    (answer(4), "start: busy, or nothing is loaded"), (answer(1), "start: the frame's CRC or a stop bit was wrong"),
    (b"", "start: no answer: is this the board's port, and is top.bit loaded."), (answer(0)[:3], "must be a frame, not 520000"),
    (answer(0, b"1"), "start: the answer must have 0 bytes, not 1"),
    (answer(0)[:-1] + b"\x55", "the CRC of the board's reply is wrong: 5200000055")])
def test_host_says_what_is_wrong(given, sentence):
    with pytest.raises(BoardError, match=sentence.replace("'", ".")):
        Board(Line(given)).start()


def status_of(winner, cycles):
    return answer(0, bytes([4]) + winner.to_bytes(2, "little") + cycles.to_bytes(4, "little") + bytes(8))


def test_host_compares_the_images_of_a_bundle(tmp_path, capsys):
    """The program at the other end of the line: PASS, FAIL, and one sentence for what could not be done."""
    (tmp_path / "input.hex").write_text("1\n2\n3\n0\n")
    (tmp_path / "board.json").write_text(json.dumps({"network_sha256": NETWORK, "words": 2, "word_bits": 2, "clock_mhz": 12}))

    def ask(*arguments, network=NETWORK, version=1, size=2):
        identity = answer(0, bytes([version, size, 0, 10, 0]) + bytes.fromhex(network[:16]))
        line = Line(identity, answer(0), answer(0), status_of(7, 1200), answer(0), answer(0), status_of(3, 600))
        status = host.main(["port", str(tmp_path / "input.hex"), "--board", str(tmp_path / "board.json"), *arguments],
                           lambda port, baud, timeout: line)
        return status, line, "".join(capsys.readouterr())
    status, line, said = ask()
    assert status == 0 and "none was compared" in said
    assert line.sent[1::3] == [frame("load", b"\1\2"), frame("load", b"\3\0")]
    (tmp_path / "classes.hex").write_text("7\n3\n")
    status, _, said = ask()
    assert status == 0 and "PASS: all 2 images have the class of" in said
    assert said.splitlines()[:2] == ["image 0: class 7 in 1,200 cycles, 100.0 us", "image 1: class 3 in 600 cycles, 50.0 us"]
    (tmp_path / "other.hex").write_text("7\na\n")
    status, _, said = ask("--classes", str(tmp_path / "other.hex"))
    assert status == 1 and "image 1: class 3, not 10 in" in said and "FAIL: 1 of 2 images have another class" in said
    assert ask(network="f" * 16)[::2] == (2, f"error: the board must hold the network of board.json, {NETWORK[:16]}, but holds "
                                             "ffffffffffffffff: load top.bit\n")
    assert "must speak version 1 of the protocol, not 7" in ask(version=7)[2]
    assert "an image must have 2 bytes, but the board takes 4" in ask(size=4)[2]
    for name, text, sentence in (("input.hex", "1\n2\n3\n", "input.hex must have 2 words for each image (of "),
                                 ("input.hex", "", "input.hex must have 2 words for each image (of "),
                                 ("input.hex", "1\nx\n", "input.hex: number 2 must be hexadecimal digits, not 'x'"),
                                 ("input.hex", "1\n4\n0\n0\n", "input.hex: number 2 must be below 0x4, not 4"),
                                 ("input.hex", "1\n-1\n0\n0\n", "input.hex: number 2 must be below 0x4, not -1"),
                                 ("input.hex", "1\n2\n", "has 2, and ")):
        (tmp_path / name).write_text(text)
        status, _, said = ask()
        assert status == 2 and sentence in said
    none = tmp_path / "none"
    assert ask("--board", str(none))[::2] == (2, f"error: {none} cannot be read: No such file or directory\n")
    for text in ("", "{}", "5", "null", '["words"]', '{"words',
                 '{"words": 0, "word_bits": 2, "clock_mhz": 1, "network_sha256": "0"}'):
        (tmp_path / "other.json").write_text(text)
        status, _, said = ask("--board", str(tmp_path / "other.json"))
        assert status == 2 and said.endswith("must be the board.json of a board's folder\n")
    (tmp_path / "input.hex").unlink()
    status, _, said = ask()
    assert status == 2 and said == f"error: {tmp_path / 'input.hex'} cannot be read: No such file or directory\n"


def test_host_refuses_what_has_no_place():
    line = Line(answer(0), answer(0, b"\5"))
    known = Board(line, [{"name": "conv1.accumulator.weights", "width": 4, "depth": 18}])
    for memory, address, word, sentence in ((1, 0, b"\0", "memory must be below 1, not 1"),
                                            (0, 18, b"\0", "address must be below 18, not 18"),
                                            (0, 0, b"\x10", "a word of conv1.accumulator.weights must have 4 bits, not the")):
        with pytest.raises(ValueError, match=sentence):
            known.write(memory, address, word)
    with pytest.raises(ValueError, match="address must be below 16777216"):
        Board(line).read(0, 1 << 24)
    assert not line.sent
    known.write(0, 17, b"\5")
    assert known.read(0, 17) == b"\5" and len(line.sent) == 2


def test_a_folder_of_a_board_is_replaced_and_no_other(tmp_path):
    board.clear(tmp_path / "new" / "folder")
    for name in ("top.v", "top.bit", "core.v", "a.mem", "README.md", "board.json", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "host.py").mkdir()
    with pytest.raises(ValueError, match=r"host.py must be a file to replace, but is a folder"):
        board.clear(tmp_path)
    assert (tmp_path / "top.bit").exists()
    (tmp_path / "host.py").rmdir()
    board.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "notes.txt"]
    with pytest.raises(ValueError, match="must be a new folder, or a board's to replace, but holds other files"):
        board.clear(tmp_path)


def test_crc_is_the_common_one():
    assert crc8(b"123456789") == 0xf4                                        # the check value of CRC-8/SMBUS
    assert parse(answer(2, b"xy")) == (2, b"xy")
