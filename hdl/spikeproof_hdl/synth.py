"""Resources and clock rate on an FPGA, by the open tools: yosys, then nextpnr.

What is synthesised is the Verilog that was simulated, between shift registers, so that neither pins nor unused
outputs decide. Trace ports are left unconnected and disappear.
"""
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from spikeproof.files import sha256_file

from .audit import copy_core, load_manifest
from .load import INPUTS
from .tools import nextpnr, run, synthesis_script, tool_versions, yosys

__all__ = ["DEVICES", "Device", "commands", "shell", "synthesize"]

SHELL = """// The core between shift registers, so that neither pins nor unused outputs decide its resources and clock rate.
module shell (input wire clk, input wire si, output reg so);
  reg [{ins}:0] in;
  reg [{outs}:0] out;
  wire [{outs}:0] o;
  core core (.clk(clk), {ports});
  always @(posedge clk) begin
    in <= {{in, si}};
    out <= o ^ (out << 1);
    so <= out[{outs}];
  end
endmodule
"""

#: yosys's primitives: FPGA family -> what is counted -> cells, or cells with a weight.
CELLS = {
    "ecp5": {"lut": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}, "ff": {"TRELLIS_FF": 1}, "bram": {"DP16KD": 1},
             "lutram": {"TRELLIS_DPR16X4": 1}, "dsp": {"MULT18X18D": 1, "ALU54B": 1}},
    "ice40": {"lut": {"SB_LUT4": 1}, "ff": {"SB_DFF": 1}, "bram": {"SB_RAM40_4K": 1}, "lutram": {}, "dsp": {"SB_MAC16": 1}},
    "xilinx": {"lut": {**{f"LUT{k}": 1 for k in range(1, 7)}, "INV": 1, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2,
                       "RAM128X1D": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1S": 1, "RAM64X1S": 1, "SRL16E": 1, "SRLC32E": 1},
               "ff": {"FD": 1}, "bram": {"RAMB18E1": 1, "RAMB36E1": 2},
               "lutram": {"RAM32M": 1, "RAM64M": 1, "RAM32X1D": 1, "RAM64X1D": 1, "RAM128X1D": 1}, "dsp": {"DSP48E1": 1}},
}
#: Family -> yosys's command, bits of a block RAM, and what its log calls one.
FAMILIES = {"ecp5": ("synth_ecp5", 18432, ("$__DP16KD_", "$__PDPW16KD_")),
            "ice40": ("synth_ice40 -device u", 4096, ("$__ICE40_RAM4K_",)),
            "xilinx": ("synth_xilinx -family xc7 -flatten", 18432, ("$__XILINX_BLOCKRAM_",))}


@dataclass(frozen=True)
class Device:
    """An FPGA: the vendor's part, its family, nextpnr's options (None: no open place and route), and its LUTs, block RAMs."""
    part: str
    family: str
    options: tuple | None
    luts: int
    brams: int


#: What a core can be synthesised for.
DEVICES = {
    "25k": Device("LFE5U-25F", "ecp5", ("--25k", "--package", "CABGA381", "--speed", "6"), 24288, 56),
    "45k": Device("LFE5U-45F", "ecp5", ("--45k", "--package", "CABGA381", "--speed", "6"), 43848, 108),
    "85k": Device("LFE5U-85F", "ecp5", ("--85k", "--package", "CABGA381", "--speed", "6"), 83640, 208),
    "up5k": Device("iCE40UP5K", "ice40", ("--up5k", "--package", "sg48"), 5280, 30),
    "xc7": Device("Xilinx 7 series", "xilinx", None, 0, 0),
}
#: Where a crowded ECP5, more than half full by yosys's count, has its clock: a clock pin of the package CABGA381.
CLOCK_PIN = 'LOCATE COMP "clk" SITE "G2";\nIOBUF PORT "clk" IO_TYPE=LVCMOS33;\n'
#: The devices that "auto" chooses from, smallest first; yosys makes the same of a core for all of them.
AUTO, SIZES = "auto", ("25k", "45k", "85k")


def shell(rtl):
    """Verilog of a module that holds the core of a folder between shift registers; traces are left open."""
    verilog = (Path(rtl) / "core.v").read_text()
    body = verilog[verilog.index("module core("):]
    declared = re.findall(r"^ *(?:input|output) (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE)
    width = {name: int(high or 0) + 1 for high, name in declared}
    load = [f"load_{name}" for name in INPUTS] if "load_found" in width else []
    connected, ends = [], {}
    for register, names in (("in", ["i_valid", "o_ready", "i_payload", *load, "rst"]),
                            ("o", ["i_ready", "o_valid", "o_payload", *(["load_found"] if load else [])])):
        at = 0
        for name in names:
            connected.append(f".{name}({register}[{at + width[name] - 1}:{at}])")
            at += width[name]
        ends[register] = at - 1
    return SHELL.format(ins=ends["in"], outs=ends["o"], ports=", ".join(connected))


def commands(device, seed=1, crowded=False):
    """What to run, in a folder with core.v, its images and shell.v -> (arguments of yosys, arguments of nextpnr or None).

    nextpnr wants the clock rate beside them: ``--freq`` in MHz, or a constraint on ``clk``. A crowded ECP5 is routed by nextpnr's
    second router, in less than a minute where the first one did not end in twenty; it wants the clock at a clock pin,
    ``CLOCK_PIN``.
    """
    chip = DEVICES[device]
    out = "" if chip.options is None else " -json shell.json"
    script = synthesis_script(FAMILIES[chip.family][0], "shell", out)
    synthesis = ["-q", "-l", "yosys.log", "-p",
                 f"read_verilog -sv core.v; read_verilog shell.v; {script}; tee -o stat.json stat -json"]
    if chip.options is None:
        return synthesis, None
    unconstrained = "--lpf-allow-unconstrained" if chip.family == "ecp5" else "--pcf-allow-unconstrained"
    router = ["--router", "router2"] if crowded else []
    return synthesis, [*chip.options, "--json", "shell.json", "--seed", str(seed), "--report", "report.json", *router,
                       unconstrained, "--timing-allow-fail"]


def _count(cells, weights):
    """Cells of a yosys statistic by name; the variants of flip-flops by the beginning of theirs."""
    found = 0
    for cell, number in cells.items():
        name = next((family for family in ("SB_DFF", "FD") if cell.startswith(family)), cell)
        found += number * weights.get(name, 0)
    return found


def _block_ram(log, memories, family):
    """Bits that the memories in block RAM need, and their names, from yosys's log."""
    _, _, markers = FAMILIES[family]
    mapped = re.findall(r"mapping memory shell\.(\S+) via (\S+)", log)
    names = sorted(path for path, kind in mapped if kind.startswith(markers))
    return sum(memories[name]["width"] * memories[name]["depth"] for name in names), names


def _fits(result, chip):
    return result["lut"] <= chip.luts and result["bram"] <= chip.brams


def synthesize(rtl, work, device=AUTO, seed=1, frequency=100):
    """Synthesise the core, and place and route it where open tools can.

    Parameters
    ----------
    rtl : folder of the exported core
    work : scratch folder
    device : a key of DEVICES, or "auto", the smallest ECP5 that holds what yosys counts; for "xc7" yosys's count of LUT6 is all
        there is
    seed : int, of nextpnr's placer
    frequency : MHz, the target that nextpnr works towards

    Returns
    -------
    dict: verilog (digest of core.v), lut (LUT4, or LUT6 for Xilinx, memories in LUTs included), ff, bram (blocks of
    ``bram_block_bits``), lutram, dsp, fmax_mhz (None where not placed), bram_bits_needed (of the memories that are in block
    RAM), bram_ratio (bits of the blocks used over those needed, None without), available, tools, seconds

    Raises
    ------
    MissingTool
        If yosys or nextpnr is absent.
    RuntimeError
        If the core does not fit, or a tool fails.
    """
    if device != AUTO and device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join((AUTO, *DEVICES))}, not {device!r}")
    sizes = SIZES if device == AUTO else (device,)                   # of one family
    chip = DEVICES[sizes[0]]
    _, block_bits, _ = FAMILIES[chip.family]
    rtl, work = Path(rtl), Path(work)
    memories = load_manifest(rtl)["memories"]
    copy_core(rtl, work)
    (work / "shell.v").write_text(shell(rtl))
    began = time.monotonic()
    run([yosys(), *commands(sizes[0], seed)[0]], work)
    middle = time.monotonic()
    design = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
    result = {kind: _count(design, weights) for kind, weights in CELLS[chip.family].items()}
    needed, names = _block_ram((work / "yosys.log").read_text(), memories, chip.family)
    device = next((size for size in sizes if _fits(result, DEVICES[size])), sizes[-1])
    chip, fmax, tools = DEVICES[device], None, ["yosys"]
    crowded = chip.family == "ecp5" and result["lut"] > chip.luts / 2
    _, placement = commands(device, seed, crowded)
    if placement is not None and not _fits(result, chip):
        raise RuntimeError(f"the core needs about {result['lut']:,} LUT and {result['bram']} block RAM, and {chip.part} ({device}) "
                           f"has {chip.luts:,} and {chip.brams}: use fewer lanes, fewer bits or a larger device")
    if placement is not None:
        tools.append(f"nextpnr_{chip.family}")
        if crowded:
            (work / "clock.lpf").write_text(CLOCK_PIN)
            placement += ["--lpf", "clock.lpf"]
        run([nextpnr(chip.family), *placement, "--freq", str(frequency)], work, work / "nextpnr.log")
        report = json.loads((work / "report.json").read_text())
        used = {kind: cell["used"] for kind, cell in report["utilization"].items()}
        result["lut"] = used["TRELLIS_COMB" if chip.family == "ecp5" else "ICESTORM_LC"]
        fmax = round(min(clock["achieved"] for clock in report["fmax"].values()), 2)
    return {"device": chip.part, "verilog": sha256_file(rtl / "core.v"), **result, "fmax_mhz": fmax,
            "bram_block_bits": block_bits, "bram_bits_needed": needed,
            "bram_ratio": round(result["bram"] * block_bits / needed, 3) if needed else None, "bram_memories": names,
            "available": {"lut": chip.luts, "bram": chip.brams} if chip.options is not None else None,
            "crowded": crowded, "seed": seed, "target_mhz": frequency, "tools": tool_versions(*tools),
            "seconds": {"yosys": round(middle - began, 1), "place_and_route": round(time.monotonic() - middle, 1)}}
