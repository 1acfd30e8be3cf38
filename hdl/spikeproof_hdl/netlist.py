"""The core as gates: what synthesis makes of it, as Verilog that can be simulated."""
from pathlib import Path

from .audit import copy_core
from .tools import run, yosys, yosys_share

__all__ = ["netlist"]

# `opt_clean -purge` before the LUT mapping works round yosys #4349 (abc9 on single-bit names).
SCRIPT = ("read_verilog -sv core.v; synth_ice40 -device u -top core -run :map_luts; opt_clean -purge; "
          "synth_ice40 -device u -top core -run map_luts:; write_verilog -noattr netlist.v")


def netlist(rtl, work):
    """The core as iCE40 cells, with its traces -> (netlist, models of the cells), two Verilog files.

    Of the open families, iCE40 has models of all its cells, block RAM with contents included.
    """
    work = Path(work)
    copy_core(rtl, work)
    run([yosys(), "-q", "-l", "yosys.log", "-p", SCRIPT], work)
    return (work / "netlist.v").resolve(), yosys_share("ice40/cells_sim.v")
