"""Memories that are written and read back at run time, through one port of the core."""
import functools
import operator

from amaranth.hdl import Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "INPUTS", "LoadPort", "LoadSignature"]

ADDRESS_BITS = 24
#: The port's inputs.
INPUTS = ("memory", "address", "data", "write", "read")


class LoadSignature(wiring.Signature):
    """The port as the core has it.

    Parameters
    ----------
    width : int, bits of the widest word

    Members
    -------
    memory, address : In, which word
    data, write : In, its new value, in a cycle of ``write``
    read : In; from the fourth cycle of ``read`` on, ``found`` is the word
    found : Out
    """
    def __init__(self, width):
        super().__init__({"memory": In(8), "address": In(ADDRESS_BITS), "data": In(width), "write": In(1), "read": In(1),
                          "found": Out(width)})


class LoadPort:
    """What connects the port with the memories, wherever they are. To be used while the core is idle.

    Parameters
    ----------
    widths : {path: bits of a word} of the memories; a memory's number is its position
    """
    def __init__(self, widths):
        if len(widths) > 256:
            raise ValueError(f"a core with loadable memories must have at most 256 of them, not {len(widths)}")
        self.widths, self.width = widths, max(widths.values())
        self.memory, self.address = Signal(8, name="load_memory"), Signal(ADDRESS_BITS, name="load_address")
        self.data, self.write = Signal(self.width, name="load_data"), Signal(name="load_write")
        self.read = Signal(name="load_read")
        self.words = {path: Signal(width, name=f"load_word{n}") for n, (path, width) in enumerate(widths.items())}

    def connect(self, m, port):
        """Join with the core's port."""
        m.d.comb += [getattr(self, name).eq(getattr(port, name)) for name in INPUTS]
        m.d.comb += port.found.eq(functools.reduce(operator.or_, (
            Mux(self.memory == n, word, 0) for n, word in enumerate(self.words.values()))))

    def chosen(self, path):
        """Whether a memory is the one that the port names."""
        return self.memory == list(self.words).index(path)
