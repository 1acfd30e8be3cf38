"""Resources and clock rate on an FPGA, by the open tools: yosys, then nextpnr.

What is synthesised is the Verilog that was simulated, between shift registers, so that neither pins nor unused
outputs decide. Trace ports are left unconnected and disappear.
"""
import json
import re
import shutil
import time
from pathlib import Path

from .tools import nextpnr_ecp5, run, tool_versions, yosys

__all__ = ["synthesize"]

SHELL = """module shell (input wire clk, input wire si, output reg so);
  reg [{ins}:0] in;
  reg [{outs}:0] out;
  wire [{outs}:0] o;
  core core (.clk(clk), .rst(in[{ins}]), .i_valid(in[0]), .o_ready(in[1]), .i_payload(in[{last}:2]),
             .i_ready(o[0]), .o_valid(o[1]), .o_payload(o[{outs}:2]));
  always @(posedge clk) begin
    in <= {{in, si}};
    out <= o ^ (out << 1);
    so <= out[{outs}];
  end
endmodule
"""

# `opt_clean -purge` before the LUT mapping works round yosys #4349 (abc9 on single-bit names).
YOSYS = ("read_verilog -sv core.v; read_verilog shell.v; synth_ecp5 -top shell -run :map_luts; opt_clean -purge; "
         "synth_ecp5 -top shell -run map_luts: -json shell.json; tee -o stat.json stat -json")

DEVICES = {"25k": "LFE5U-25F", "45k": "LFE5U-45F", "85k": "LFE5U-85F"}


def _ports(verilog):
    """(bits of i_payload, bits of o_payload) of module core."""
    found = []
    for name in ("i_payload", "o_payload"):
        body = verilog[verilog.index("module core("):]
        match = re.search(rf"^\s*(?:input|output) (?:\[(\d+):0\] )?{name};", body, re.MULTILINE)
        found.append(int(match[1] or 0) + 1)
    return found


def synthesize(rtl, work, device="25k", seed=1, frequency=100):
    """Synthesise, place and route the core for an ECP5.

    Parameters
    ----------
    rtl : folder of the exported core
    work : scratch folder
    device : "25k", "45k" or "85k" (package CABGA381, speed grade 6)
    seed : int, of nextpnr's placer
    frequency : MHz, the target that nextpnr works towards

    Returns
    -------
    dict: lut, ff, bram (DP16KD, 18 kbit each), lutram, dsp, fmax_mhz, what is available, tools, seconds

    Raises
    ------
    MissingTool
        If yosys or nextpnr is absent.
    RuntimeError
        If a tool fails, for instance because the core does not fit.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    rtl, work = Path(rtl), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    for file in [rtl / "core.v", *rtl.glob("*.mem")]:
        shutil.copyfile(file, work / file.name)
    i_bits, o_bits = _ports((rtl / "core.v").read_text())
    (work / "shell.v").write_text(SHELL.format(ins=i_bits + 2, last=i_bits + 1, outs=o_bits + 1))
    began = time.monotonic()
    run([yosys(), "-q", "-p", YOSYS], work, work / "yosys.log")
    middle = time.monotonic()
    run([nextpnr_ecp5(), f"--{device}", "--package", "CABGA381", "--speed", "6", "--json", "shell.json", "--seed", str(seed),
         "--freq", str(frequency), "--report", "report.json", "--lpf-allow-unconstrained", "--timing-allow-fail"],
        work, work / "nextpnr.log")
    ended = time.monotonic()
    report = json.loads((work / "report.json").read_text())
    used = {kind: cell["used"] for kind, cell in report["utilization"].items()}
    return {"device": DEVICES[device], "lut": used["TRELLIS_COMB"], "ff": used["TRELLIS_FF"], "bram": used["DP16KD"],
            "lutram": used.get("TRELLIS_RAMW", 0), "dsp": used["MULT18X18D"] + used["ALU54B"],
            "fmax_mhz": round(min(clock["achieved"] for clock in report["fmax"].values()), 2),
            "available": {kind: report["utilization"][kind]["available"] for kind in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD")},
            "seed": seed, "target_mhz": frequency, "tools": tool_versions("yosys", "nextpnr_ecp5"),
            "seconds": {"yosys": round(middle - began, 1), "nextpnr": round(ended - middle, 1)}}
