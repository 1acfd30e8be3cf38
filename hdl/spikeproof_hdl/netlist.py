"""The core as gates: what synthesis makes of it, as Verilog that can be simulated."""
from pathlib import Path

from .audit import copy_core
from .tools import run, synthesis_script, yosys, yosys_share

__all__ = ["netlist"]

SCRIPT = f"read_verilog -sv core.v; {synthesis_script('synth_ice40 -device u', 'core')}; write_verilog -noattr netlist.v"


def netlist(rtl, work):
    """The core as iCE40 cells, with its traces -> (netlist, models of the cells), two Verilog files.

    Of the open families, iCE40 has models of all its cells, block RAM with contents included.
    """
    work = Path(work)
    copy_core(rtl, work)
    run([yosys(), "-q", "-l", "yosys.log", "-p", SCRIPT], work)
    return (work / "netlist.v").resolve(), yosys_share("ice40/cells_sim.v")
