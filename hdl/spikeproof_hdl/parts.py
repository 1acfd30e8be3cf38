"""Small parts that the components share: counters, choices between layers, banked memories, stream payloads."""
import math
from contextlib import contextmanager
from contextvars import ContextVar

from amaranth.hdl import Assert, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data, memory
from amaranth.utils import ceil_log2

__all__ = ["Banked", "Counter", "among", "asserting", "bank_depth", "claim", "fits", "map_word", "pick", "tree"]

#: Depth of a block RAM by the width of its port (ECP5 DP16KD, Xilinx RAMB18; iCE40's are a quarter as deep).
#: Memories of more bits than this are put in block RAM, also the small rest of them that their last bank may be.
SMALL = 8192
BLOCK_RAM = {16384: 1, 8192: 2, 4096: 4, 2048: 9, 1024: 18, 512: 36}


#: Names of the claims that are asserted, and the signal that must be high for that; none in a core that is built.
_asserted = ContextVar("asserted", default=(frozenset(), None))


@contextmanager
def asserting(names, given):
    """Within this context, elaborated components assert the claims of these names, wherever the signal ``given`` is high.

    See :mod:`spikeproof_hdl.formal`.
    """
    token = _asserted.set((frozenset(names), given))
    try:
        yield
    finally:
        _asserted.reset(token)


def claim(m, name, condition, when=1):
    """What must hold in every cycle in which ``when`` holds: an assertion for the formal proofs, else no hardware."""
    names, given = _asserted.get()
    if name in names:
        m.d.comb += Assert(~given | ~Value.cast(when)[0] | condition)


def fits(value, shape):
    """Whether a Value keeps its value in a Shape."""
    value, shape = Value.cast(value), Shape.cast(shape)
    low = value[:shape.width]
    return value == (low.as_signed() if shape.signed else low)


def pick(m, select, values):
    """``values[select]``; a constant, and no hardware, where all are equal or there is but one."""
    first = values[0]
    if all(value is first or (isinstance(value, int) and isinstance(first, int) and value == first) for value in values):
        return first
    choice = tree(select, values)
    chosen = Signal(choice.shape(), name="choice")
    m.d.comb += chosen.eq(choice)
    return chosen


def among(select, positions, count):
    """Whether ``select``, which says one of ``count``, is one of some positions; a constant, and no hardware, where all are."""
    return 1 if len(positions) == count else Value.cast(select).matches(*positions)


def tree(select, values):
    """``values[select]`` as a tree of two-way multiplexers, which maps to wide multiplexers of an FPGA's slices."""
    values, bit = [Value.cast(value) for value in values], 0
    while len(values) > 1:
        pairs = [values[n:n + 2] for n in range(0, len(values), 2)]
        values = [Mux(select[bit], pair[1], pair[0]) if len(pair) == 2 else pair[0] for pair in pairs]
        bit += 1
    return values[0]


class Counter:
    """A counter of 0 .. size-1 that is there only if it counts to more than one.

    ``at`` is its value, ``last`` whether that is size-1; ``up`` and ``clear`` are lists of statements; ``step`` is up,
    or clear at the last. With a list of sizes, ``select`` says which one holds.
    """
    def __init__(self, m, name, size, select=None):
        sizes = size if isinstance(size, list) else [size]
        self.at, self.last, self.up, self.clear, self.step = 0, 1, [], [], []
        if max(sizes) > 1:
            self.at = Signal(range(max(sizes)), name=name)
            self.last = self.at == pick(m, select, [n - 1 for n in sizes])
            self.up, self.clear = [self.at.eq(self.at + 1)], [self.at.eq(0)]
            self.step = [self.at.eq(Mux(self.last, 0, self.at + 1))]


def map_word(width, regions=1):
    """Payload of one word of a map on its way into a frame memory; ``region`` says of which map, if there are several."""
    return data.StructLayout({"codes": width, **({"region": range(regions)} if regions > 1 else {})})


def bank_depth(depth, width):
    """Rows of one bank: the deepest block RAM shape that needs at most 5 % more blocks than the best."""
    blocks = {rows: math.ceil(depth / rows) * math.ceil(width / BLOCK_RAM[rows]) for rows in BLOCK_RAM}
    return max(rows for rows in blocks if blocks[rows] <= 1.05 * min(blocks.values()))


class Banked:
    """A memory in banks of a block RAM's depth, each with a register behind it, so that no multiplexer follows a RAM.

    A row addressed in one cycle is there two cycles later; both cycles must have ``enable``.

    Parameters
    ----------
    m : Module
    name : str, of the memory; banks after the first are ``name_bank1``, ...
    depth : int, rows
    shape : of a row
    init : list of rows as int, or [] for memories that are written
    enable : Value, both cycles of a read advance
    address : Value, of the row to read
    write : None, or (enable, address, row)
    load : None, or (LoadPort, path) of a memory that is written and read at run time

    Members
    -------
    row : Value of the row's shape
    """
    def __init__(self, m, name, depth, shape, init, enable, address, write=None, load=None):
        width = Shape.cast(shape).width
        if load is not None:
            bus, path = load
            mine = bus.chosen(path)
            address, enable = Mux(bus.read & mine, bus.address, address), enable | (bus.read & mine)
            write = (bus.write & mine, bus.address, bus.data[:width])
        per_bank = bank_depth(depth, width)
        offset = ceil_log2(per_bank)
        rows, starts = [], range(0, depth, per_bank)
        address = Value.cast(address)
        for n, start in enumerate(starts):
            bank = memory.Memory(shape=unsigned(width), depth=min(per_bank, depth - start), init=init[start:start + per_bank],
                                 attrs={"ram_style": "block"} if width * depth > SMALL else {})
            m.submodules[name if n == 0 else f"{name}_bank{n}"] = bank
            read = bank.read_port()
            held = Signal(width, name=f"{name}_row{n}")
            m.d.comb += [read.addr.eq(address), read.en.eq(enable)]
            with m.If(enable):
                m.d.sync += held.eq(read.data)
            rows.append(held)
            if write is not None:
                port = bank.write_port()
                m.d.comb += [port.addr.eq(write[1]), port.data.eq(Value.cast(write[2])),
                             port.en.eq(write[0] if len(starts) == 1 else write[0] & (Value.cast(write[1]) >> offset == n))]
        if len(rows) == 1:
            self.row = rows[0]
        else:
            which = [Signal(range(len(rows)), name=f"{name}_which{k}") for k in range(2)]
            with m.If(enable):
                m.d.sync += [which[0].eq(address >> offset), which[1].eq(which[0])]
            self.row = tree(which[1], rows)

        if load is not None:
            m.d.comb += bus.words[path].eq(self.row)

    @staticmethod
    def pack(fields, bits):
        """Rows of ``fields`` (lists of int), each ``bits`` wide, lowest first -> list of int."""
        mask = (1 << bits) - 1
        return [sum((int(field) & mask) << (k * bits) for k, field in enumerate(row)) for row in fields]
