"""A serial line: bytes to and from one wire each, eight data bits, no parity, one stop bit."""
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["Receiver", "Sender"]


class Receiver(wiring.Component):
    """Bytes from a wire, sampled in the middle of each bit.

    Parameters
    ----------
    divisor : int, clock cycles of a bit; 4 at least

    Members
    -------
    rx : In(1), the wire; high when idle
    valid, data : Out, a byte, for one cycle
    error : Out(1), for one cycle: a stop bit was low
    """
    def __init__(self, divisor):
        if divisor < 4:
            raise ValueError(f"divisor must be at least 4 clock cycles a bit, not {divisor}")
        self.divisor = divisor
        super().__init__({"rx": In(1), "valid": Out(1), "data": Out(8), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line, count, bits, at = Signal(init=1), Signal(range(self.divisor)), Signal(9), Signal(range(10))
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        m.d.sync += [self.valid.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [count.eq(self.divisor // 2), at.eq(0)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.d.sync += [count.eq(self.divisor - 1), at.eq(at + 1), bits.eq(Cat(bits[1:], line))]
                    with m.If((at == 0) & line):                # too short for a start bit
                        m.next = "IDLE"
                    with m.If(at == 9):
                        m.d.sync += [self.valid.eq(line), self.error.eq(~line), self.data.eq(bits[1:])]
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(line):
                    m.next = "IDLE"
        return m


class Sender(wiring.Component):
    """Bytes onto a wire.

    Parameters
    ----------
    divisor : int, clock cycles of a bit

    Members
    -------
    i : In(stream of 8 bits)
    tx : Out(1), the wire; high when idle
    """
    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        count, bits, left = Signal(range(self.divisor)), Signal(9, init=0x1ff), Signal(range(11))
        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(left == 0)]
        with m.If(left == 0):
            with m.If(self.i.valid):
                m.d.sync += [bits.eq(Cat(0, self.i.payload)), left.eq(10), count.eq(self.divisor - 1)]
        with m.Elif(count == 0):
            m.d.sync += [bits.eq(Cat(bits[1:], 1)), left.eq(left - 1), count.eq(self.divisor - 1)]
        with m.Else():
            m.d.sync += count.eq(count - 1)
        return m
